"""DVC: which data this is, in which order the stages run, what is kept for later and where.

Commands run as processes of their own, as their users would run them; only reading uses DVC's Python API. A command
that finds DVC's lock taken by another waits for it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ParamsError, StageError, VersionsError
from hydra_ml.io.git import in_repository
from hydra_ml.io.layout import make_growing
from hydra_ml.tasks.task import Task

BUSY_WAIT_S = 900.0  # how long to wait for another DVC process before giving up
TAIL = 15  # last lines of a failed command that its error repeats
BUSY_REMEDY = "Another DVC process held its lock for {wait_s:.0f} s: let it end, or stop it, and run again."
# Output goes to a log: a progress bar says something only of what takes minutes, and then once a minute.
_FOR_LOGS = {"DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1", "TQDM_DELAY": "60", "TQDM_MININTERVAL": "60"}
# What DVC tells whoever types its commands, and nobody who reads a log.
_HINT = re.compile(
    r"To track the changes|To enable auto staging|git add |dvc config core\.autostage|Use `dvc push`|Having any"
)
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")

log = logging.getLogger(__name__)
Say = Callable[[str], None]


def stage_order(task: Task, root: Path = Path()) -> list[str]:
    """Names of the task's stages, each after all that it depends on, as DVC's own graph of dvc.yaml has them.

    Raises ParamsError if params.yaml does not name the task; VersionsError if dvc.yaml is missing or broken.
    """
    return list(TopologicalSorter(_needs(task, root)).static_order())


def stages_to(targets: Collection[str], task: Task, root: Path = Path(), *, there: Collection[str] = ()) -> list[str]:
    """Those of `stage_order` that must run for the outputs of `targets` when those of the stages in `there` lie ready.
    Raises as that does, and VersionsError if dvc.yaml has no such target."""
    needs = _needs(task, root)
    lacking = sorted(set(targets) - needs.keys())
    if lacking:
        raise VersionsError(f"{root / 'dvc.yaml'}: has no stage {lacking[0]}@{task.folder}. `git checkout dvc.yaml`.")
    wanted: set[str] = set()
    waiting = [*targets]
    while waiting:
        name = waiting.pop()
        if name not in there and name not in wanted:
            wanted.add(name)
            waiting += needs[name]
    return [name for name in TopologicalSorter(needs).static_order() if name in wanted]


def _needs(task: Task, root: Path) -> dict[str, list[str]]:
    """Stage of the task -> the stages it reads from, sorted."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    work_without_git(root)
    ending = f"@{task.folder}"
    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph  # stage -> those it depends on; a .dvc file is a stage without a name
            names = {stage: str(getattr(stage, "name", "")) for stage in graph}
            needs = {
                name.removesuffix(ending): sorted(
                    names[other].removesuffix(ending) for other in graph[stage] if names[other].endswith(ending)
                )
                for stage, name in sorted(names.items(), key=lambda item: item[1])
                if name.endswith(ending)
            }
    except DvcException as error:
        raise VersionsError(f"{root / 'dvc.yaml'}: {error}. Mend the file; `dvc dag` shows what DVC reads.") from error
    if not needs:
        raise ParamsError(f"{task.folder}: no stage of dvc.yaml has this task. Add it to `tasks` in params.yaml.")
    return needs


def repro(
    stage: str, task: Task, say: Say | None = None, *, root: Path = Path(), wait_s: float = BUSY_WAIT_S
) -> dict[str, Any]:
    """Bring one stage of the task up to date, its inputs taken as they lie; `say` gets each line of output.

    Comes back with the figures that the stage printed; {} if DVC found it up to date or had its outputs in the cache.

    Raises StageError with the last lines of output if the stage fails for a reason that somebody must mend, else
    VersionsError: it was killed, its LLM is out of reach, or DVC stays busy for `wait_s`.
    """
    make_growing(root / "data", task.folder)
    name = f"{stage}@{task.folder}"
    lines = _dvc(["repro", "--single-item", name], root, f"stage {name}", say, wait_s)
    printed = [line for line in lines if line.startswith(f'{{"stage": "{stage}"')]
    return dict(json.loads(printed[-1])) if printed else {}


def work_without_git(root: Path = Path()) -> bool:
    """Whether DVC was told just now to work without git, because `root` lies in no repository (a tarball, say).

    Told back once there is one. What it says stands in .dvc/config.local, which git ignores.
    """
    is_git = in_repository(root)
    local = root / ".dvc" / "config.local"
    told = local.exists() and "no_scm = true" in local.read_text("utf-8")
    if is_git != told or not local.parent.is_dir():
        return False
    setting = ["--unset", "core.no_scm"] if is_git else ["core.no_scm", "true"]
    code, lines = _process([sys.executable, "-m", "dvc", "config", "--local", *setting], root, None)
    if code:
        raise VersionsError("\n".join(["dvc config failed.", *lines]))
    return not is_git


def track(paths: Sequence[Path], root: Path = Path()) -> list[Path]:
    """The .dvc files of these paths (relative to `root`), brought up to date with what lies there now."""
    if paths:
        _dvc(["add", *map(str, paths)], root, "dvc add")
    return [path.with_name(f"{path.name}.dvc") for path in paths]


def commit(stages: Sequence[str], root: Path = Path()) -> None:
    """Have the lock file name what the stages' inputs and outputs are now, without running them."""
    if stages:
        _dvc(["commit", "--force", *stages], root, "dvc commit")


def push(targets: Sequence[Path] = (), root: Path = Path()) -> None:
    """Send what the targets (.dvc files, stages; none: everything) name to the configured remote, if it lacks it.

    Raises VersionsError with the remedy if there is no remote, or it cannot be reached.
    """
    _dvc(["push", *map(str, targets)], root, "dvc push", remedy=_REMOTE)


def pull(targets: Sequence[Path] = (), root: Path = Path()) -> None:
    """Fetch what the targets (none: everything) name from the remote; changes that lie there are never overwritten.

    Raises VersionsError with the remedy if there is no remote, it cannot be reached, or it lacks the content.
    """
    _dvc(["pull", *map(str, targets)], root, "dvc pull", remedy=_REMOTE)


_REMOTE = (
    "See `dvc remote list` and whether the remote can be reached from here; `dvc remote modify local url <where>` "
    "names another. Then run `dvc push` or `dvc pull` again; nothing is lost meanwhile."
)


def content_version(folder: Path, root: Path = Path()) -> str:
    """DVC's digest of a folder's content, whether DVC tracks it or not. Raises VersionsError if it is not there."""
    from dvc.exceptions import DvcException
    from dvc.fs import localfs
    from dvc.repo import Repo
    from dvc_data.hashfile.build import build

    try:
        with Repo(str(root)) as repo:
            path = os.path.abspath(folder)
            _, _, content = build(repo.cache.local, path, localfs, "md5", ignore=repo.dvcignore, dry_run=True)
    except (DvcException, OSError) as error:
        raise VersionsError(
            f"{folder}: DVC can tell no version of it ({type(error).__name__}: {error}). Bring the data in with "
            "`dvc pull`, `hydra-ml data add` or `hydra-ml data sample`."
        ) from error
    return str(content.hash_info.value)


def n_tracked_files(dvc_file: Path) -> int:
    """How many files the .dvc file says its folder holds; 0 if there is no such file."""
    if not dvc_file.exists():
        return 0
    try:
        return sum(int(out.get("nfiles", 1)) for out in YAML(typ="safe").load(dvc_file.read_text("utf-8"))["outs"])
    except (YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise VersionsError(f"{dvc_file}: is no .dvc file. Get the version that git has: `git checkout`.") from error


def _dvc(
    arguments: Sequence[str],
    root: Path,
    label: str,
    say: Say | None = None,
    wait_s: float = BUSY_WAIT_S,
    *,
    remedy: str = "",
) -> list[str]:
    """Lines of output of a DVC command that went well, after waiting for other DVC processes if need be."""
    work_without_git(root)
    deadline = time.monotonic() + wait_s
    while True:
        code, lines = _process([sys.executable, "-m", "dvc", *arguments], root, say)
        if code == 0:
            return lines
        busy = any(sign in line for line in lines for sign in BUSY)
        pause = random.uniform(1.0, 3.0)  # apart from others who wait for the same
        if not busy or time.monotonic() + pause > deadline:
            break
        log.info("%s: another DVC process is at work here; trying again", label)
        time.sleep(pause)
    if busy:
        remedy = BUSY_REMEDY.format(wait_s=wait_s)
    told = [line for line in lines if line.strip() and not _HINT.match(line.strip())][-TAIL:]
    first = f"{label} failed (exit {code}): {_cause(told, label)}"
    # A stage that ended by itself says whether it may pass; one that was killed may, and so may all of DVC's own.
    of_stage = any(re.search(r"exited with [12]$", line) for line in told)
    raise (StageError if of_stage else VersionsError)(
        "\n".join([first, *(f"  {line}" for line in told), remedy]).strip()
    )


def _cause(lines: Sequence[str], label: str) -> str:
    """The line of a failed command's output that says why: the stage's own word, else that of a traceback, else what
    it said last, else the first that DVC calls an error."""
    stage = label.removeprefix("stage ").partition("@")[0]
    own = [line for line in lines if line.startswith(f"{stage}: ")]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    said = [line for line in lines if not line.startswith(("ERROR: ", "WARNING: ", "Running stage ", "> "))]
    ran = any("failed to run: " in error for error in errors)
    return (own[-1:] or raised[-1:] or (said[-1:] if ran else []) or errors[:1] or lines[-1:] or ["no word"])[0]


def search_path() -> str:
    """PATH for stages, which call `python`: this one, whether or not its environment was activated."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def _process(command: Sequence[str], root: Path, say: Say | None) -> tuple[int, list[str]]:
    """Exit code and output lines, error output among them, of a command; it does not outlive an exception here."""
    environment = {**os.environ, **_FOR_LOGS, "PATH": search_path()}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that DVC and the stage it runs can be stopped together
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if say is not None and lines[-1].strip() and not _HINT.match(lines[-1].strip()):
                    say(lines[-1])
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        return process.wait(), lines
