"""The operating verbs as a user types them, on a project with a real registry: what they print, exit codes, errors."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from hydra_ml.cli.main import main
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.tables import load_table


@pytest.fixture
def hydra_ml(own_project, capsys, monkeypatch):
    """Runs the command in the project's folder; gives exit code, stdout and stderr."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def next_release(project) -> str:
    """A further release that answers as the champion does, which is challenger."""
    _, release = project.registry.release(project.task, project.champion)
    run_id = project.registry.version(project.task, "release", project.champion).run_id
    params = json.loads(json.dumps(dict(release.params)))
    params["train_adapter"]["weight_decay"] *= 1.1  # changes no answer, but they are not the same settings
    version = project.registry.register_release(project.task, replace(release, params=params), run_id=run_id)
    project.registry.point(project.task, {"challenger": version})
    return version


def test_promote_and_rollback_move_the_pointer(own_project, hydra_ml):
    version = next_release(own_project)
    code, out, _ = hydra_ml("promote", "--task", "LaMP-2", "--dry-run")
    assert (code, own_project.registry.aliases(own_project.task)["champion"]) == (0, own_project.champion)
    code, out, _ = hydra_ml("promote", "--task", "LaMP-2")
    assert code == 0
    assert f"release {version} passes the gate against release {own_project.champion}" in out
    assert "- yes: not inferior: " in out
    assert own_project.registry.aliases(own_project.task)["champion"] == version
    code, out, _ = hydra_ml("rollback", "--task", "LaMP-2")
    assert code == 0
    assert out.startswith(f"LaMP-2: release {own_project.champion} is live again, instead of {version}.\nNo release")
    code, out, err = hydra_ml("rollback", "--task", "LaMP-2")
    assert (code, out) == (1, "")
    assert "no previous release to go back to" in err


def test_a_refused_promotion_ends_with_exit_code_1_and_the_reason(own_project, hydra_ml):
    next_release(own_project)
    report = own_project.data / "validate" / own_project.task.folder / "report.json"
    save_json([finding | {"failed": True} for finding in load_json(report)], report)
    code, out, _ = hydra_ml("promote", "--task", "LaMP-2")
    assert code == 1
    assert "- NO: validated: " in out
    code, out, _ = hydra_ml("promote", "--task", "LaMP-2", "--force", "a reason")
    assert code == 0
    assert "by force: a reason" in out


def test_status_as_text_and_as_json_without_a_prefect_server(own_project, hydra_ml):
    code, out, _ = hydra_ml("status")
    assert code == 0
    assert f"release {own_project.champion} since" in out
    assert "PREFECT_API_URL is not set" in out
    code, out, _ = hydra_ml("status", "--json")
    assert json.loads(out)["tasks"][0]["release"] == own_project.champion


def test_heads_are_listed_and_compared(own_project, hydra_ml):
    code, out, _ = hydra_ml("heads", "list", "--task", "LaMP-2")
    assert code == 0
    assert "lamp-2.adapter.heads: 1 version(s)" in out
    code, out, _ = hydra_ml("heads", "compare", "champion", "1", "--task", "LaMP-2")
    assert code == 0
    assert "No user's measure changed." in out
    code, _, err = hydra_ml("heads", "compare", "1", "1", "--task", "LaMP-2", "--part", "base")
    assert code == 2
    assert "adapter.heads and reranker.heads" in err


def test_score_then_why(own_project, hydra_ml):
    queries = load_table(own_project.data / "prepare" / own_project.task.folder / "queries.parquet")
    known = queries[queries["role"] == "evaluate"].iloc[0]
    asked = {"request_id": "r1", "user_id": known["user_id"], "task": "LaMP-2", "input": known["input"]}
    foreign = asked | {"request_id": "r2", "task": "LaMP-3"}
    (own_project.root / "ask.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (asked, foreign)))
    code, out, _ = hydra_ml("score", "ask.jsonl", "--task", "LaMP-2", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["scored"], report["dead_letters"], report["release"]) == (1, 1, own_project.champion)
    code, out, _ = hydra_ml("why", "r1")
    assert code == 0
    assert f"release {own_project.champion}" in out
    assert "answers to this request" not in out
    version = next_release(own_project)
    hydra_ml("score", "ask.jsonl", "--task", "LaMP-2", "--release", version)
    _, out, _ = hydra_ml("why", "r1")
    told = out[out.index("answers to this request") :].splitlines()
    assert [line.split(":")[0].strip() for line in told[1:3]] == [
        f"release {version}",
        f"release {own_project.champion}",
    ]
    refused = {**asked, "input": ""}  # later, under the same id
    (own_project.root / "again.jsonl").write_text(json.dumps(refused) + "\n")
    code, out, _ = hydra_ml("score", "again.jsonl", "--task", "LaMP-2", "--json")
    assert (code, json.loads(out)["dead_letters"]) == (1, 1), "nothing could be scored"
    code, out, _ = hydra_ml("why", "r1")
    assert (code, out.split()[:2]) == (0, ["request", "r1"])
    code, _, err = hydra_ml("why", "r2")
    assert code == 1
    assert "was not answered" in err
    code, _, err = hydra_ml("why", "r3")
    assert code == 1
    assert "none of 3 batches had a request 'r3'" in err


def test_nothing_to_learn_and_nothing_to_take_in_say_so(own_project, hydra_ml):
    code, out, _ = hydra_ml("update-heads", "--task", "LaMP-2")
    assert code == 0
    assert "nothing to do" in out
    code, out, _ = hydra_ml("ingest")
    assert (code, out) == (0, "Nothing waits in data/incoming.\n")


def test_the_task_may_be_left_out_only_where_there_is_one(own_project, hydra_ml):
    code, _, err = hydra_ml("rollback")
    assert code == 2
    assert "Say which with --task" in err
    code, _, err = hydra_ml("promote", "--task", "LaMP-9")
    assert code == 2
    assert "unknown task" in err


def test_a_registry_out_of_reach_is_one_message(own_project, hydra_ml, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/mlflow.db")
    code, _, err = hydra_ml("promote", "--task", "LaMP-2")
    assert code == 1
    assert err.startswith("hydra-ml: MLflow at sqlite:////proc/nowhere/mlflow.db cannot be opened")
    code, out, _ = hydra_ml("status")  # tells the rest
    assert code == 0
    assert "cannot be told: MLflow at sqlite:////proc/nowhere/mlflow.db cannot be opened" in out


def test_releases_are_listed_and_shown_with_what_happened_to_them(own_project, hydra_ml):
    version = next_release(own_project)
    hydra_ml("promote", "--task", "LaMP-2")
    hydra_ml("rollback", "--task", "LaMP-2", "--reason", "it learned spam")
    code, out, _ = hydra_ml("releases", "list", "--task", "LaMP-2")
    assert code == 0
    newest, first = out.splitlines()[2:4]
    assert newest.startswith(f"{version} ")
    assert newest.endswith("rolled back: it learned spam")
    assert re.search(rf"^{own_project.champion} +champion +nightly .* offline-minilm +0\.\d+", first)
    code, out, _ = hydra_ml("releases", "show", version, "--task", "LaMP-2", "--json")
    shown = json.loads(out)
    assert (shown["version"], shown["aliases"]) == (version, [])
    assert shown["hold"]["reason"].endswith("it learned spam")
    code, out, _ = hydra_ml("releases", "show", "--task", "LaMP-2")
    assert "adapter.heads" in out
    assert re.search(r"^  is +champion$", out, re.MULTILINE)
    code, out, _ = hydra_ml("release-hold", "--task", "LaMP-2")
    assert out == f"LaMP-2: no longer held (rolled back from release {version} to 1: it learned spam).\n"
    assert hydra_ml("release-hold", "--task", "LaMP-2")[1] == "LaMP-2: was not held.\n"
    code, _, err = hydra_ml("releases", "show", "77", "--task", "LaMP-2")
    assert (code, "no version 77" in err) == (1, True)


def test_a_hold_by_hand_wants_a_reason_and_is_seen(own_project, hydra_ml):
    assert hydra_ml("hold", "--task", "LaMP-2")[0] == 2
    code, out, _ = hydra_ml("hold", "--task", "LaMP-2", "--reason", "an audit")
    assert (code, "promotion is held since" in out) == (0, True)


def test_drops_of_a_task_without_any(own_project, hydra_ml):
    assert hydra_ml("data", "drops", "--task", "LaMP-2")[1] == "LaMP-2: no drop was ever taken in.\n"
    code, _, err = hydra_ml("data", "withdraw", "x", "--task", "LaMP-2")
    assert (code, "'x' names 0 drops" in err) == (1, True)


@pytest.mark.parametrize(
    ("args", "told"), [(("why", "\udcff"), "no request id"), (("forget", "--verify", "."), "is a folder")]
)
def test_what_was_typed_wrongly_is_one_message(hydra_ml, args, told):
    code, _, err = hydra_ml(*args)
    assert (code, told in err) == (1, True), err
