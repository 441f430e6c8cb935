"""Another file behind a model's name: whoever asks, counts or goes on after a kill names the answers alike."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hydra_ml.io.params_file import load_params
from hydra_ml.jobs import dry_run as job
from tests.conftest import Chain

ROOT = Path(__file__).parents[2]


class Gguf:
    """A server of one file, as llama.cpp's: `size` is all that tells the file from another under the same name."""

    def __init__(self, size: int, says: str) -> None:
        self.asked = 0
        self._size, self._says = size, says
        routes = [Route("/v1/chat/completions", self.answer, methods=["POST"]), Route("/v1/models", self.models)]
        self.app = Starlette(routes=routes)

    async def answer(self, request: Request) -> JSONResponse:
        self.asked += 1
        await asyncio.sleep(0.01)
        return JSONResponse({"choices": [{"message": {"content": self._says}}]})

    async def models(self, request: Request) -> JSONResponse:
        entry = {"id": "m", "created": time.time_ns(), "owned_by": "llamacpp", "meta": {"size": self._size}}
        return JSONResponse({"object": "list", "data": [entry]})


@pytest.fixture
def own(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose tables before `annotate` are the session's, for a server's model, with an empty cache."""
    for stage in ("prepare", "retrieve", "rerank"):
        shutil.copytree(chain.root / stage, tmp_path / "data" / stage / chain.task)
    document = YAML().load((chain.root / "params.yaml").read_text())
    document["llm"].update(model="m", concurrency=4)
    document["tasks"] = [chain.task]
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(document, file)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
    monkeypatch.setattr(job, "is_up_to_date", lambda *_: False)
    return tmp_path


def annotate(root: Path) -> subprocess.Popen[str]:
    folders = {"prepared": "data/prepare/LaMP_2", "retrieved": "data/retrieve/LaMP_2", "out": "out", "cache": ".cache"}
    command = [sys.executable, "-m", "hydra_ml.stages.annotate", "--task", "LaMP_2"]
    for option, place in {**folders, "params": "params.yaml"}.items():
        command += [f"--{option}", str(root / place)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def answers(root: Path) -> tuple[dict[str, Any], set[str]]:
    """The stage's figures and the distinct answers it wrote."""
    from hydra_ml.io.tables import load_table

    out, _ = annotate(root).communicate(timeout=120)
    return json.loads(out), set(load_table(root / "out/annotations.parquet")["answer"])


def counted(root: Path) -> tuple[int, int]:
    """Asks of `annotate`, and those kept, as `--dry-run` counts them."""
    found = job.dry_run(load_params(root / "params.yaml"), data=root / "data", cache=root / ".cache")
    cost = found.costs["LaMP_2"]["annotate"]
    return cost.asks, cost.kept


def test_two_files_under_one_name_share_no_answer(
    own: Path, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Gguf(1000, "comedy"), Gguf(1001, "action")
    at_one, at_other = start_server(one.app).address, start_server(other.app).address
    monkeypatch.setenv("OPENAI_BASE_URL", at_one)
    killed = annotate(own)
    while one.asked < 12 and killed.poll() is None:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    time.sleep(0.1)  # the server ends what it was at
    paid = one.asked
    asks, kept = counted(own)
    assert paid - 4 <= kept <= paid < asks, "all but what was in flight"

    figures, said = answers(own)
    assert one.asked == paid + asks - kept, "goes on where it was killed"
    assert said == {"comedy"}
    assert counted(own) == (asks, asks)

    monkeypatch.setenv("OPENAI_BASE_URL", at_other)
    assert counted(own) == (asks, 0), "the estimate knows it for another model"
    figures, said = answers(own)
    assert (figures["cached"], other.asked) == (0, asks)
    assert said == {"action"}

    monkeypatch.setenv("OPENAI_BASE_URL", at_one)
    assert counted(own) == (asks, asks), "the first one's are still there"
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert counted(own) == (asks, 0), "nobody there to say whose answers they are"
