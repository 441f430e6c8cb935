"""Another model behind the same name: the gate does not take the old one's answers for the new one's."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from starlette.responses import JSONResponse

from hydra_ml.errors import LLMError
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.history_store import append_drop
from hydra_ml.jobs.update_heads import plan_update
from hydra_ml.records import RECORD_COLUMNS
from tests.jobs.other_llm import add_release, go, served_as_my_model
from tests.jobs.update_world import ROOT


class Served:
    """The offline model under the name my-model, whose server tells which file it serves."""

    def __init__(self, encode: Any) -> None:
        self.file, self.after_first, self.n_asked, self.is_gone = "A", "", 0, False
        self._app = served_as_my_model(encode)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].endswith("/models"):
            told = {"data": [{"id": "my-model" if not self.is_gone else "new", "meta": {"size": ord(self.file)}}]}
            await JSONResponse(told)(scope, receive, send)
        elif self.is_gone:
            await JSONResponse({"error": {"message": "no such model"}}, 404)(scope, receive, send)
        else:
            self.n_asked += 1
            self.file = self.after_first or self.file
            await self._app(scope, receive, send)


@pytest.fixture
def served(own_project, start_server, monkeypatch) -> Served:
    app = Served(open_encoder(own_project.params.encoder, own_project.cache, progress="").encode)
    for name, value in {"BASE_URL": start_server(app).address, "API_KEY": "k"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)
    return app


def kept(project, version: str) -> int:
    return len(list((project.cache / "gate" / project.task.folder).glob(f"release-{version}-*.parquet")))


def test_both_releases_are_judged_on_the_model_that_is_there_now_and_that_is_said(own_project, served):
    first = add_release(own_project)
    go(own_project, force="to start from")
    n_first, served.n_asked = served.n_asked, 0

    served.file = "B"
    second = add_release(own_project, rerank={"k": 3})
    decision = go(own_project)
    assert (decision.against, kept(own_project, first), kept(own_project, second)) == (first, 2, 1)
    assert served.n_asked > n_first, "the champion's answers too, not only the challenger's"
    (told,) = [reason for reason in decision.reasons if reason.name == "llm"]
    assert "behind my-model its server tells of another model" in told.text
    assert "both releases are judged on the answers of the one there now" in told.text

    served.n_asked = 0
    again = go(own_project, version=add_release(own_project, rerank={"k": 3}))
    assert not [reason for reason in again.reasons if reason.name == "llm"], "it is the same model as before"


def test_a_model_exchanged_while_it_is_judged_decides_nothing(own_project, served):
    add_release(own_project)
    go(own_project, force="to start from")
    add_release(own_project, rerank={"k": 3})
    served.after_first = "B"
    with pytest.raises(LLMError, match=r"another model behind this name than before.*Nothing was decided"):
        go(own_project)


def test_a_champion_whose_llm_is_gone_is_compared_by_the_answers_it_gave(own_project, served):
    first = add_release(own_project)
    go(own_project, force="to start from")
    served.is_gone, served.file = True, "C"  # another server: it tells of its own model, and knows no my-model
    add_release(own_project, "offline-minilm")
    decision = go(own_project)
    assert decision.against == first
    assert "my-model cannot be asked any more, and its answers are those it gave" in decision.markdown()
    assert decision.figures is not None


@pytest.mark.parametrize(("file", "says"), [("A", False), ("B", True)])
def test_an_update_says_that_its_heads_learn_from_another_model_than_their_base(
    own_project, served, caplog, file, says
):
    version = add_release(own_project, served='{"id": "my-model", "meta": {"size": 65}}')
    shown, release = own_project.registry.release(own_project.task, version)
    assert (shown, release.served) == (version, '{"id": "my-model", "meta": {"size": 65}}')
    records = pd.read_parquet(own_project.data / "prepare/LaMP_2/records.parquet")[list(RECORD_COLUMNS)]
    append_drop(own_project.data / "history/LaMP_2", records.head(1).assign(record_id="new", date="2031-01-01"))
    served.file = file
    places = {"data": own_project.data, "registry": own_project.registry, "cache": own_project.cache}
    plan = plan_update(own_project.task, own_project.params, **places, which=version, root=ROOT)
    assert plan.n_users == 1
    assert ("its server now tells of" in caplog.text) is says
