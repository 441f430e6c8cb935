"""Another model behind the same name: the gate does not take the old one's answers for the new one's."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from starlette.responses import JSONResponse

from hydra_ml.errors import LLMError
from hydra_ml.io.encoders import open_encoder
from hydra_ml.jobs.promote import promote
from hydra_ml.offline.app import build_offline_app


class Served:
    """The offline model under the name my-model, whose server tells which file it serves."""

    def __init__(self, encode: Any) -> None:
        self.file, self.after_first, self.n_asked, self.is_gone = "A", "", 0, False
        lock = threading.Lock()

        def one_at_a_time(texts: Any) -> Any:
            with lock:
                return encode(texts)

        self._app = build_offline_app(one_at_a_time)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def read() -> Any:
            message = await receive()
            return {**message, "body": message.get("body", b"").replace(b"my-model", b"offline-minilm")}

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
            await self._app(scope, read, send)


@pytest.fixture
def served(own_project, start_server, monkeypatch) -> Served:
    app = Served(open_encoder(own_project.params.encoder, own_project.cache, progress="").encode)
    for name, value in {"BASE_URL": start_server(app).address, "API_KEY": "k"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)
    return app


def add_release(project, model: str = "my-model", **sections: Any) -> str:
    """The champion's parts in a release that answers with this model and these settings; it becomes the challenger."""
    registry, task = project.registry, project.task
    _, release = registry.release(task, "champion")
    params = json.loads(json.dumps(dict(release.params)))
    params["llm"] |= {"model": model, "max_attempts": 1}
    for name, values in sections.items():
        params[name] |= values
    run_id = registry.version(task, "release", project.champion).run_id
    version = registry.register_release(task, replace(release, params=params), run_id=run_id)
    registry.point(task, {"challenger": version})
    return version


def go(project, **options):
    params = project.params.model_copy(update={"llm": project.params.llm.model_copy(update={"max_attempts": 1})})
    return promote(project.task, params, data=project.data, registry=project.registry, cache=project.cache, **options)


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
