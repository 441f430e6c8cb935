"""Reading params.yaml: what is told when it cannot be read."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.io.params_file import changed_params, load_params, set_params
from hydra_ml.params import Params


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, "utf-8")
    return path


def test_values_and_defaults(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, "seed: 7\nvalidate: {max_bad_share: 0.1}\nprepare:\n  train_users: null\n"))
    assert params.seed == 7
    assert params.validate_.max_bad_share == 0.1
    assert params.prepare.train_users is None
    assert params.retrieve == Params().retrieve


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_params(written(tmp_path, "# nothing yet\n")) == Params()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: [1\nprepare: 2\n", "not YAML in line"),
        ("seed: 1\nseed: 2\n", "not YAML in line 2"),
        ("- a list\n", "(top level)"),
        ("sede: 1\nprepare: {history: none}\n", "2 problem(s)"),
        ("annotate: {max_tokens: 0}\n", "annotate.max_tokens: Input should be greater than or equal to 1 (found 0)"),
        ("generate: {max_tokens: 9999999}\n", "less than or equal to 131072 (found 9999999)"),
    ],
)
def test_unfit_files(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file"):
        load_params(tmp_path / "params.yaml")


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "a bomb of aliases": (BOMB, "values, aliases followed"),
    "an alias of itself": ("q: &q [*q]\n", "names nothing before it"),
    "brackets": ("x: " + "[" * 15_000, "nested more than 32 deep"),
    "dashes": ("- " * 100_000, "nested more than 32 deep"),
    "very long": ("#" * 300_000, "at most 262,144"),
    "no whole number": ("seed: !!int x\n", "not YAML"),
    "no moment": ("seed: !!timestamp x\n", "not YAML"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_that_would_end_the_interpreter_or_never_end_is_refused(tmp_path: Path, name: str) -> None:
    text, told = HOSTILE[name]
    path = written(tmp_path, text)
    for read in (load_params, lambda at: set_params(at, {"seed": 3})):
        with pytest.raises(ParamsError) as caught:
            read(path)
        assert told in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_a_tag_makes_no_object(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="not YAML"):
        load_params(written(tmp_path, "seed: !!python/object/apply:os.getcwd []\n"))


def test_anchors_and_merges_may_be_used(tmp_path: Path) -> None:
    text = "train_reranker: &both {width: 32}\ntrain_adapter: {<<: *both, epochs: 3}\n"
    params = load_params(written(tmp_path, text))
    assert (params.train_adapter.width, params.train_adapter.epochs) == (32, 3)


def test_a_key_below_what_is_no_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"ingest\.push cannot be set"):
        set_params(written(tmp_path, "ingest: 3\n"), {"ingest.push": False})


def test_changes_hold_while_the_block_runs_and_no_byte_of_them_stays(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 7   # mine\n\n\ntasks: [LaMP_3]\n")
    before = path.read_bytes()
    with changed_params(path, {"seed": 8, "evaluate.methods": ["hydra"]}):
        params = load_params(path)
        assert (params.seed, params.evaluate.methods) == (8, ["hydra"])
    assert path.read_bytes() == before
    with pytest.raises(KeyboardInterrupt), changed_params(path, {"seed": 9}):
        raise KeyboardInterrupt
    assert path.read_bytes() == before


def test_changes_that_are_refused_are_not_made(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 7\n")
    with pytest.raises(ParamsError), changed_params(path, {"rerank.k": 0}):
        pass
    assert path.read_text("utf-8") == "seed: 7\n"


def test_a_file_that_somebody_else_changed_meanwhile_is_theirs(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 7\n")
    with changed_params(path, {"seed": 8}):
        path.write_text("seed: 5\n", "utf-8")
    assert path.read_text("utf-8") == "seed: 5\n"


KILLED = """
import os, signal, sys
from pathlib import Path
from hydra_ml.io.params_file import changed_params
with changed_params(Path(sys.argv[1]), {"evaluate.methods": ["rag_k4"], "tasks": ["LaMP_2"]}):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_in_a_change(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert b"rag_k4" in path.read_bytes()


@pytest.mark.parametrize("read", [load_params, lambda at: set_params(at, {"seed": 7})])
def test_what_a_killed_run_changed_is_put_back_when_the_file_is_next_read(tmp_path: Path, read, caplog) -> None:
    path = written(tmp_path, "seed: 7   # mine\n\n\ntasks: [LaMP_3]\n")
    before = path.read_bytes()
    killed_in_a_change(path)
    read(path)
    assert path.read_bytes() == before
    assert not (tmp_path / ".params.yaml.before").exists()
    assert "evaluate.methods, tasks" in caplog.text


def test_what_was_edited_after_a_kill_is_left_and_told(tmp_path: Path, caplog) -> None:
    path = written(tmp_path, "seed: 7\n")
    killed_in_a_change(path)
    path.write_text(path.read_text("utf-8").replace("seed: 7", "seed: 8"), "utf-8")
    assert load_params(path).evaluate.methods == ["rag_k4"]
    assert "evaluate.methods, tasks" in caplog.text
    assert "left as it is" in caplog.text
    caplog.clear()
    load_params(path)
    assert caplog.text == ""


def test_a_change_after_a_kill_goes_back_to_what_was_before_both(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 7\n")
    killed_in_a_change(path)
    with changed_params(path, {"evaluate.methods": ["rag_k4"]}):
        pass
    assert path.read_text("utf-8") == "seed: 7\n"


def test_a_note_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 7\n")
    (tmp_path / ".params.yaml.before").write_bytes(b'{"before": "se')
    assert load_params(path).seed == 7
    assert not (tmp_path / ".params.yaml.before").exists()


def test_two_changes_at_once_wait_for_each_other(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 7\n")
    before = path.read_bytes()
    seen = []

    def other() -> None:
        with changed_params(path, {"seed": 9}):
            seen.append((load_params(path).seed, load_params(path).evaluate.methods))

    thread = threading.Thread(target=other)
    with changed_params(path, {"seed": 8, "evaluate.methods": ["rag_k4"]}):
        thread.start()
        thread.join(0.3)
        assert load_params(path).seed == 8
        assert not seen
    thread.join(10)
    assert seen == [(9, None)]  # of the file as its owner wrote it, and not as the first had changed it
    assert path.read_bytes() == before
