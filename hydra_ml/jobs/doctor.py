"""doctor: looks for what usually stands in the way, each thing with its remedy; the parts that concern them are run by
`make up` and nightly too.

A check says what it found, or raises what a run would raise later and less clearly.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_ml.errors import DataError, HydraError, ParamsError, VersionsError
from hydra_ml.io.files import readable
from hydra_ml.io.git import changed_since_commit, in_repository
from hydra_ml.io.llm_environment import OFFLINE, check_named_model
from hydra_ml.io.orchestrator import POOL, read_workers
from hydra_ml.io.own_stack import load_own_stack, port_is_free
from hydra_ml.io.params_file import load_params
from hydra_ml.io.private_files import open_to_others

ENOUGH_DISK = 2 * 1024**3  # bytes: a night of a small task, its artifacts and its caches
PYTHON = (3, 11)


class Notice(HydraError):
    """Not in the way, but worth knowing."""


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    name: str
    state: str  # "ok", "note" or "BAD"
    text: str  # what was found, and for a note or worse what to do


def examine(*, root: Path, params_path: Path) -> list[Finding]:
    """Every check, in the order in which trouble usually comes. Raises nothing that is a HydraError."""
    data = root / "data"
    checks: Sequence[tuple[str, Callable[[], str]]] = (
        ("Python", check_python),
        ("git", lambda: check_git(root)),
        ("settings", lambda: check_settings(params_path)),
        ("disk", lambda: check_disk(root)),
        ("temporary folder", check_temporary_folder),
        ("file modes", lambda: check_private(root)),
        ("data", lambda: check_data(params_path, data)),
        ("LLM", lambda: check_llm(params_path, root / ".cache")),
        ("ports", lambda: check_ports(root)),
        ("registry", check_registry),
        ("worker", check_worker),
    )
    return [_finding(name, check) for name, check in checks]


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Notice as notice:
        return Finding(name, "note", str(notice))
    except HydraError as error:
        return Finding(name, "BAD", str(error))


def check_python() -> str:
    """The Python that runs this. Raises ParamsError unless it is the one this version is made for."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != PYTHON:
        raise ParamsError(f"Python {found} runs this, 3.11 is needed: rm -r .venv, then make PYTHON=python3.11 setup")
    return f"{found}, {sys.executable}"


def check_git(root: Path) -> str:
    """Whether there is a repository. Raises Notice where there is none: all but experiments works."""
    if not in_repository(root):
        raise Notice(
            "no repository: releases name no commit, `dvc exp` and `dvc metrics diff` do not work. `git init` and a "
            "first commit make one"
        )
    return "a repository"


def check_settings(params_path: Path) -> str:
    """params.yaml can be read and names the LLM meant. Raises ParamsError; Notice if it differs from what is committed:
    an experiment (`dvc exp run`) leaves its changes there, and tonight's nightly would run with them."""
    params = load_params(params_path)
    check_named_model(params.llm)
    try:
        changed = changed_since_commit(params_path)
    except VersionsError:
        changed = ()
    if changed:
        raise Notice(
            f"{params_path} differs from the last commit, and the next nightly takes it as it is: "
            f"{'; '.join(changed)}. `git commit` it if that is meant, `git checkout {params_path}` if an experiment "
            "left it so"
        )
    return f"tasks {', '.join(params.tasks)}; LLM {params.llm.model}"


def check_disk(root: Path) -> str:
    """Free space where the project lies. Raises DataError if it is less than ENOUGH_DISK."""
    free = shutil.disk_usage(root).free
    if free < ENOUGH_DISK:
        raise DataError(f"{free / 1e9:.1f} GB free at {root.resolve()}, {ENOUGH_DISK / 1e9:.1f} are needed: free some")
    return f"{free / 1e9:.0f} GB free"


def check_temporary_folder() -> str:
    """Where temporary files go. Raises DataError if this account cannot write there."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            return str(Path(file.name).parent)
    except OSError as error:
        raise DataError(f"no temporary file can be written ({error}): set TMPDIR to a folder of your own") from error


def check_private(root: Path) -> str:
    """Whether other accounts can read personal data. Raises DataError with what lies open."""
    found = open_to_others(root)
    if found:
        some = ", ".join(readable(path) for path in found[:3])
        raise DataError(
            f"other accounts of this machine may read or write {len(found):,} files and folders with personal data or "
            f"secrets: {some}{', ..' if len(found) > 3 else ''}. `make up` and `make run` close them"
        )
    return "personal data is this account's alone"


def check_data(params_path: Path, data: Path) -> str:
    """Data of every task. Raises Notice where there is none yet, DataError where some of a task's is missing."""
    tasks = load_params(params_path).tasks
    missing = [task for task in tasks if not (data / "raw" / task).is_dir()]
    if missing and not any((data / "raw").glob("*")):
        raise Notice(
            "data/raw is empty: nightly and `make run` begin with the bundled sample; `hydra-ml data add` else"
        )
    if missing:
        raise DataError(
            f"data/raw has nothing of {', '.join(missing)}: `hydra-ml data add FOLDER`, `dvc pull`, or take it out of "
            "`tasks` in params.yaml"
        )
    return f"data/raw has {', '.join(tasks)}"


def check_llm(params_path: Path, cache: Path) -> str:
    """Whether the LLM of params.yaml can be asked. Raises LLMError or ParamsError with what is amiss; asks for the
    server's list of models, which costs nothing."""
    from hydra_ml.io.encoders import find_encoder
    from hydra_ml.io.llm import known_models

    params = load_params(params_path)
    if params.llm.model == OFFLINE:
        return f"{OFFLINE}, a stand-in, reads with {find_encoder(params.encoder).folder.name}"
    known = known_models(params.llm)
    if known is None:
        raise Notice(f"the server answers but lists no models: whether it knows {params.llm.model!r} shows when asked")
    if params.llm.model not in known:
        some = ", ".join(sorted(known)[:5]) or "none"
        raise ParamsError(f"the server does not know llm.model {params.llm.model!r}; it has {some}: mend params.yaml")
    return f"{params.llm.model}, known to the server"


def check_ports(root: Path) -> str:
    """The ports of `make up`: this folder's stack holds them, or they are free. Raises ParamsError."""
    own = load_own_stack(root)
    ports = {"PREFECT_PORT": own.prefect_port, "MLFLOW_PORT": own.mlflow_port} if own else {}
    ports = ports or {"PREFECT_PORT": 4200, "MLFLOW_PORT": 5000, "DOCS_PORT": 8808}
    taken = [f"{name} {port}" for name, port in ports.items() if not port_is_free(port)]
    told = ", ".join(f"{name} {port}" for name, port in ports.items())
    if taken and own is None:
        raise ParamsError(
            f"{' and '.join(taken)} in use: stop what listens there, or name others: make up PREFECT_PORT=.."
        )
    return f"{told}, {'in use by this folder' if taken else 'free'}"


def check_registry() -> str:
    """Whether MLflow's store can be read. Raises StoreError."""
    from hydra_ml.errors import without_secret
    from hydra_ml.io.mlflow.store import connect, tracking_uri

    connect(tracking_uri())
    return without_secret(tracking_uri())


def check_worker() -> str:
    """Whether a worker is online. Raises Notice where no stack was started, HydraError where one has no worker."""
    if load_own_stack() is None:
        raise Notice("no stack was started in this folder: `make up` does, for schedules")
    workers = read_workers(POOL)
    if not any(worker.online for worker in workers):
        raise HydraError("none is online: `make up` starts one, `make logs` shows why it ended")
    return f"online, last heard of at {workers[0].seen_at:%Y-%m-%d %H:%M:%S} UTC"
