"""The doctor finds what stands in the way, names the remedy, and stops at nothing."""

from __future__ import annotations

import socket
import subprocess

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.io.own_stack import OwnStack, save_own_stack
from hydra_ml.io.params_file import set_params
from hydra_ml.jobs import doctor
from hydra_ml.jobs.doctor import Finding, examine


def findings(root) -> dict[str, Finding]:
    return {found.name: found for found in examine(root=root, params_path=root / "params.yaml")}


@pytest.fixture
def fresh(versioned, monkeypatch):
    """A fresh clone, nothing in the environment."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{versioned}/mlflow.db")
    monkeypatch.chdir(versioned)
    return versioned


def test_a_fresh_clone_is_well_but_for_what_is_yet_to_be_started(fresh):
    found = findings(fresh)
    assert [name for name, one in found.items() if one.state == "BAD"] == []
    assert {name for name, one in found.items() if one.state == "note"} == {"data", "worker"}
    assert "offline-minilm" in found["LLM"].text


def test_what_an_experiment_left_in_the_settings_is_told(fresh):
    set_params(fresh / "params.yaml", {"generate.n_samples": 3})
    found = findings(fresh)["settings"]
    assert found.state == "note"
    assert "n_samples: 3" in found.text
    assert "git checkout" in found.text


def test_an_llm_that_cannot_be_asked_is_told(fresh, monkeypatch):
    set_params(fresh / "params.yaml", {"llm.model": "my-model"})
    assert "OPENAI_BASE_URL is not set" in findings(fresh)["LLM"].text
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = findings(fresh)["LLM"]
    assert found.state == "BAD"
    assert "127.0.0.1:9" in found.text
    assert "sk-secret" not in found.text


def test_ports_a_disk_and_a_temporary_folder_that_cannot_be_used_are_told(fresh, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(doctor, "port_is_free", lambda asked: asked != 4200)
        assert "PREFECT_PORT 4200 in use" in findings(fresh)["ports"].text
        monkeypatch.undo()
        save_own_stack(OwnStack(port, 1, "hydra:x"), fresh)
        assert "in use by this folder" in doctor.check_ports(fresh)
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 10**18)
    with pytest.raises(doctor.DataError, match="GB free"):
        doctor.check_disk(fresh)
    monkeypatch.setattr("tempfile.tempdir", str(fresh / "nowhere"))
    with pytest.raises(doctor.DataError, match="set TMPDIR"):
        doctor.check_temporary_folder()


def test_broken_settings_do_not_stop_the_other_checks(fresh):
    (fresh / "params.yaml").write_text("seeds: 1\n")
    found = findings(fresh)
    assert {"settings", "data", "LLM"} == {name for name, one in found.items() if one.state == "BAD"}
    assert "seeds" in found["settings"].text


def test_outside_git_it_says_what_that_costs(tmp_path):
    with pytest.raises(doctor.Notice, match="git init"):
        doctor.check_git(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert doctor.check_git(tmp_path) == "a repository"


def test_another_python_is_refused(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON", (3, 99))
    with pytest.raises(ParamsError, match=r"3\.11 is needed"):
        doctor.check_python()
