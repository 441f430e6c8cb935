"""A real DVC repository with a real remote: versions, order, running, tracking, and what goes wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hydra_ml.errors import ParamsError, VersionsError
from hydra_ml.io import dvc as versions
from hydra_ml.io import git
from hydra_ml.io.dvc_repro import repro_all
from hydra_ml.io.dvc_status import is_up_to_date
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

ROOT = Path(__file__).parents[2]
MOVIES, RATINGS, EMAILS = (get_task(name) for name in ("LaMP_2", "LaMP_3", "LaMP_6"))
# Stages in an order that their names and their place in the file do not give away.
SMALL_PIPELINE = """\
stages:
  annotate:
    foreach: [LaMP_2, LaMP_3]
    do:
      cmd: cat data/validate/${item} data/prepare/${item} > data/annotate/${item}
      deps: ["data/validate/${item}", "data/prepare/${item}"]
      outs: ["data/annotate/${item}"]
  validate:
    foreach: [LaMP_2, LaMP_3]
    do:
      cmd: sh slow.sh; cp data/prepare/${item} data/validate/${item}
      deps: ["data/prepare/${item}"]
      outs: ["data/validate/${item}"]
  prepare:
    foreach: [LaMP_2, LaMP_3]
    do:
      cmd: >-
        python -c "import sys; print(sys.executable, file=sys.stderr)" && cat data/raw/${item}/* > data/prepare/${item}
        && echo '{"stage": "prepare", "rows": 2}'
      deps: ["data/raw/${item}", "data/history/${item}"]
      outs: ["data/prepare/${item}"]
"""


@pytest.fixture
def small(versioned: Path) -> Path:
    """The project with three small stages in the place of its own, and some data."""
    (versioned / "dvc.yaml").write_text(SMALL_PIPELINE)
    for folder in ("raw/LaMP_2", "raw/LaMP_3", "prepare", "validate", "annotate"):
        (versioned / "data" / folder).mkdir(parents=True)
    (versioned / "data/raw/LaMP_2/a").write_text("one\n")
    (versioned / "data/raw/LaMP_3/a").write_text("two\n")
    return versioned


def tracked_version(root: Path, name: str) -> str:
    return YAML(typ="safe").load((root / name).read_text())["outs"][0]["md5"]


def raw_version(task: Task, root: Path) -> str:
    return versions.content_version(root / "data/raw" / task.folder, root)


def test_the_order_of_this_project_is_that_of_its_file() -> None:
    stages = list(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"])
    assert versions.stage_order(MOVIES, ROOT) == stages


def test_order_follows_the_graph_not_the_file(small: Path) -> None:
    assert versions.stage_order(MOVIES, small) == ["prepare", "validate", "annotate"]
    with pytest.raises(ParamsError, match=r"LaMP_6: no stage of dvc.yaml has this task. Add it to `tasks`"):
        versions.stage_order(EMAILS, small)
    (small / "dvc.yaml").write_text("stages: [")
    with pytest.raises(VersionsError, match=r"dvc.yaml: .*Mend the file"):
        versions.stage_order(MOVIES, small)


def test_repro_runs_one_stage_of_one_task_and_tells(small: Path) -> None:
    lines: list[str] = []
    assert versions.repro("prepare", MOVIES, lines.append, root=small) == {"stage": "prepare", "rows": 2}
    ours = Path(sys.executable).parent
    assert ours in {Path(line).parent for line in lines}  # the stage runs on the Python that runs us
    assert (small / "data/prepare/LaMP_2").read_text() == "one\n"
    assert not (small / "data/prepare/LaMP_3").exists()
    assert versions.repro("prepare", MOVIES, root=small) == {}
    (small / "data/raw/LaMP_2/a").write_text("three\n")
    assert versions.repro("prepare", MOVIES, root=small) == {"stage": "prepare", "rows": 2}
    assert (small / "data/prepare/LaMP_2").read_text() == "three\n"


def test_a_log_gets_no_bars_hints_or_blank_lines_but_all_the_rest(small: Path) -> None:
    versions.repro("prepare", MOVIES, root=small)
    bars = (
        "import sys, time; from tqdm import tqdm; [time.sleep(.2) for _ in tqdm(range(5), desc='busy')]; print('ready')"
    )
    (small / "slow.sh").write_text(f'python -c "{bars}"; echo; echo done\n')
    said: list[str] = []
    versions.repro("validate", MOVIES, said.append, root=small)
    assert [line for line in said if line in ("ready", "done")] == ["ready", "done"]
    assert any(line.startswith("Running stage 'validate@LaMP_2'") for line in said)
    assert not [line for line in said if ("busy" in line and "it/s" in line) or not line or "git add" in line]


def test_a_failed_stage_says_why(small: Path) -> None:
    (small / "data/raw/LaMP_2/a").unlink()
    with pytest.raises(
        VersionsError, match=r"stage prepare@LaMP_2 failed \(exit 255\): [^\n]*No such file or directory"
    ):
        versions.repro("prepare", MOVIES, root=small)


def test_a_whole_run_does_every_stage_of_every_task(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    (small / "slow.sh").write_text("true\n")
    for task in ("LaMP_2", "LaMP_3"):
        (small / "data/history" / task).mkdir(parents=True)
    repro_all()
    assert (small / "data/annotate/LaMP_3").read_text() == "two\ntwo\n"


def test_a_whole_run_that_fails_names_the_stage_and_the_remedy(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    (small / "slow.sh").write_text("exit 7\n")
    for task in ("LaMP_2", "LaMP_3"):
        (small / "data/history" / task).mkdir(parents=True)
    (small / "data/prepare/LaMP_2").write_text("in the way")
    (small / "data/raw/LaMP_2/a").unlink()
    with pytest.raises(VersionsError, match=r"(?s)reproduce 'prepare@LaMP_2': .*exited with 1\n.*Mend what it names"):
        repro_all()
    assert (small / "data/prepare/LaMP_3").is_file(), "one task that fails does not stop the others"


def test_without_git_everything_runs_and_with_git_again_that_is_told_back(small: Path) -> None:
    shutil.move(small / ".git", small / "elsewhere")
    assert versions.work_without_git(small) is True
    assert versions.work_without_git(small) is False, "told once"
    assert versions.stage_order(MOVIES, small) == ["prepare", "validate", "annotate"]
    assert versions.repro("prepare", MOVIES, root=small) == {"stage": "prepare", "rows": 2}
    assert git.git_commit(small) == ""
    shutil.move(small / "elsewhere", small / ".git")
    assert versions.work_without_git(small) is False
    assert "no_scm" not in (small / ".dvc/config.local").read_text()


@pytest.mark.parametrize(
    ("ends", "told", "may_pass"),
    [
        ("echo 'validate: 3 rows are unfit' >&2; exit 1", "validate: 3 rows are unfit", False),
        ("echo 'validate: the LLM is away' >&2; exit 75", "validate: the LLM is away", True),
        ("python -c 'raise KeyError(5)'", "KeyError: 5", False),
        ("kill -9 $$", "Killed", True),
    ],
)
def test_a_failure_says_why_and_whether_it_may_pass(small: Path, ends: str, told: str, may_pass: bool) -> None:
    (small / "slow.sh").write_text(ends + "\n")
    body = (small / "dvc.yaml").read_text().replace("sh slow.sh;", "sh slow.sh &&")
    (small / "dvc.yaml").write_text(body)
    versions.repro("prepare", MOVIES, root=small)
    with pytest.raises(VersionsError) as caught:
        versions.repro("validate", MOVIES, root=small)
    first = str(caught.value).splitlines()[0]
    assert first.startswith("stage validate@LaMP_2 failed (exit 255): ")
    assert told in first
    assert caught.value.may_pass is may_pass


def test_repro_waits_while_another_holds_the_lock(small: Path) -> None:
    versions.repro("prepare", MOVIES, root=small)
    (small / "slow.sh").write_text("touch started; while [ ! -e go ]; do sleep 0.1; done\n")
    other = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q", "-s", "validate@LaMP_2"], cwd=small)
    try:
        while not (small / "started").exists():
            assert other.poll() is None
            time.sleep(0.05)
        with pytest.raises(VersionsError, match=r"(?s)is busy.*Another DVC process held its lock for 0 s"):
            versions.repro("validate", MOVIES, root=small, wait_s=0)
        with pytest.raises(VersionsError, match=r"(?s)is busy.*Another DVC process held its lock for 0 s"):
            repro_all(small, wait_s=0)
        release = threading.Timer(1.0, (small / "go").touch)
        release.start()
        assert versions.repro("validate", MOVIES, root=small) == {}  # the other one did the work
        assert (small / "data/validate/LaMP_2").read_text() == "one\n"
        assert other.wait(30) == 0
    finally:
        other.kill()
        other.wait()


def test_nothing_outlives_a_run_that_is_stopped(small: Path) -> None:
    (small / "slow.sh").write_text("echo $$ > pid; echo waiting; sleep 600\n")
    versions.repro("prepare", MOVIES, root=small)

    def stop(line: str) -> None:
        if line == "waiting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        versions.repro("validate", MOVIES, stop, root=small)
    shell = Path("/proc") / (small / "pid").read_text().strip()
    deadline = time.monotonic() + 10
    while shell.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not shell.exists()


def test_the_version_of_data_is_what_dvc_says_of_it(small: Path) -> None:
    before = raw_version(MOVIES, small)
    assert before.endswith(".dir")
    (file,) = versions.track([Path("data/raw/LaMP_2")], small)
    assert file == Path("data/raw/LaMP_2.dvc")
    assert tracked_version(small, "data/raw/LaMP_2.dvc") == before
    assert versions.n_tracked_files(small / file) == 1
    (small / "data/raw/LaMP_2/.b.1.partial").write_text("half")  # left by a killed process
    assert raw_version(MOVIES, small) == before
    (small / "data/raw/LaMP_2/a").write_text("other\n")
    assert raw_version(MOVIES, small) != before
    versions.repro("prepare", MOVIES, root=small)
    lock = YAML(typ="safe").load((small / "dvc.lock").read_text())["stages"]["prepare@LaMP_2"]["deps"]
    assert [dep["md5"] for dep in lock if dep["path"] == "data/raw/LaMP_2"] == [raw_version(MOVIES, small)]
    (small / "data/raw/LaMP_2/a").write_text("as `hydra-ml run` may put other data there\n")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "prepare@LaMP_2"], cwd=small, check=True)
    assert tracked_version(small, "data/raw/LaMP_2.dvc") == versions.content_version(
        small / "data/raw" / MOVIES.folder, small
    )
    with pytest.raises(VersionsError, match=r"LaMP_6: DVC can tell no version of it .*`dvc pull`"):
        raw_version(EMAILS, small)


def test_push_and_pull_through_the_remote(small: Path, tmp_path: Path) -> None:
    files = versions.track([Path("data/raw/LaMP_2"), Path("data/raw/LaMP_3")], small)
    versions.push(files, small)
    assert git.commit(files, "Data", small)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(small), str(clone)], check=True)
    with pytest.raises(VersionsError, match=r"(?s)dvc pull failed.*`dvc remote modify local url <where>`"):
        versions.pull(files, clone)  # its own remote folder is empty
    remote = ["remote", "modify", "--local", "local", "url", str(small / ".dvc-remote")]
    subprocess.run([sys.executable, "-m", "dvc", *remote], cwd=clone, check=True)
    versions.pull(files, clone)
    assert (clone / "data/raw/LaMP_3/a").read_text() == "two\n"
    assert raw_version(MOVIES, clone) == versions.content_version(small / "data/raw" / MOVIES.folder, small)


@pytest.mark.parametrize("how", ["none", "unreachable"])
def test_a_remote_that_is_not_there(small: Path, how: str) -> None:
    (file,) = versions.track([Path("data/raw/LaMP_2")], small)
    url = f"url = {small / 'dvc.yaml' / 'below a file'}"
    config = {"none": "[core]\nanalytics = false\n", "unreachable": f"[core]\nremote = x\n['remote \"x\"']\n{url}\n"}[
        how
    ]
    (small / ".dvc/config").write_text(config)
    with pytest.raises(VersionsError, match=r"(?s)dvc push failed .*See `dvc remote list`"):
        versions.push([file], small)


def test_git_commits_name_what_they_are_told(small: Path) -> None:
    commit = git.git_commit(small)
    assert commit.endswith("+dirty")  # dvc.yaml was changed
    (file,) = versions.track([Path("data/raw/LaMP_2")], small)
    subprocess.run(["git", "add", "dvc.yaml"], cwd=small, check=True)
    assert git.commit([file], "Data", small)
    assert git.commit([file], "Data", small) is False  # nothing changed since
    shown = subprocess.run(
        ["git", "show", "--stat", "--format="], cwd=small, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[0] == "data/raw/LaMP_2.dvc"
    assert "dvc.yaml" not in shown.stdout
    subprocess.run(["git", "commit", "-qm", "rest"], cwd=small, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=small, capture_output=True, text=True, check=True)
    assert git.git_commit(small) == head.stdout.strip()


def test_outside_git(tmp_path: Path) -> None:
    assert git.git_commit(tmp_path) == ""
    with pytest.raises(VersionsError, match="git status failed"):
        git.commit([Path("x.dvc")], "Data", tmp_path)
    with pytest.raises(VersionsError, match="not inside of a DVC repository"):
        versions.stage_order(MOVIES, tmp_path)


def test_a_mangled_dvc_file_is_told(tmp_path: Path) -> None:
    assert versions.n_tracked_files(tmp_path / "none.dvc") == 0
    for text in ("<<<<<<< HEAD\nouts: [", "outs: 5", ""):
        (tmp_path / "x.dvc").write_text(text)
        with pytest.raises(VersionsError, match=r"x.dvc: is no .dvc file"):
            versions.n_tracked_files(tmp_path / "x.dvc")


def test_up_to_date_is_what_dvc_would_not_run(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    for task in (MOVIES, RATINGS):
        (small / "data/history" / task.folder).mkdir(parents=True, exist_ok=True)
    assert not is_up_to_date("prepare", MOVIES, small)
    repro_all(small, upto="prepare@*")
    assert is_up_to_date("prepare", MOVIES, small)
    assert is_up_to_date("prepare", RATINGS, small)
    assert not is_up_to_date("annotate", MOVIES, small)
    repro_all(small)
    assert is_up_to_date("annotate", MOVIES, small)
    (small / "data/raw/LaMP_2/a").write_text("changed\n")
    assert not is_up_to_date("annotate", MOVIES, small), "what it reads lies there as before, but will be made anew"
    assert is_up_to_date("annotate", RATINGS, small)
