"""One word finds everything: a stage's name is its module, its params section, its data folder and its test file."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from hydra_ml.io.layout import INPUTS
from hydra_ml.io.params_file import load_params
from hydra_ml.params import Params

ROOT = Path(__file__).parents[2]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
STAGES = list(PIPELINE)


def test_stages_of_dvc_are_the_modules_of_stages_and_nothing_else():
    modules = {p.stem for p in (ROOT / "hydra_ml/stages").glob("*.py")} - {"__init__", "command"}
    assert modules == set(STAGES)


def test_machine_code_beside_the_sources_does_not_count_as_source():
    with Repo(str(ROOT)) as repo:
        assert repo.dvcignore.is_ignored_dir(str(ROOT / "hydra_ml/model/__pycache__"))
        assert not repo.dvcignore.is_ignored_dir(str(ROOT / "hydra_ml/model"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_section_test_and_folder(stage):
    assert stage in {field.alias or name for name, field in Params.model_fields.items()}
    assert (ROOT / f"tests/stages/test_{stage}.py").exists()
    outs = str(PIPELINE[stage]["do"])
    assert f"data/{stage}/${{item}}" in outs


@pytest.mark.parametrize("stage", STAGES)
def test_every_params_key_a_stage_declares_exists(stage):
    document = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    for key in PIPELINE[stage]["do"]["params"]:
        value = document
        for part in key.split("."):
            assert part in value, f"{stage} declares {key}, which params.yaml does not know"
            value = value[part]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_params_key_it_reads(stage):
    source = (ROOT / f"hydra_ml/stages/{stage}.py").read_text("utf-8")
    declared = PIPELINE[stage]["do"]["params"]
    for read in set(re.findall(r"(?<!_ml\.)\bparams\.(?!yaml)([a-z_]+)(?:\.([a-z_]+))?", source)):
        section, key = read[0].rstrip("_"), read[1]
        full = f"{section}.{key}" if key else section
        if section == "llm":  # how a call is retried changes no answer; llm.model is declared
            continue
        covered = any(
            full == d or full.startswith(d + ".") or (not key and d.startswith(section + ".")) for d in declared
        )
        assert covered, f"{stage} reads params.{full} but dvc.yaml does not declare it: a change would not re-run it"


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_and_its_dependencies_agree(stage):
    do, main = PIPELINE[stage]["do"], importlib.import_module(f"hydra_ml.stages.{stage}").main
    assert do["cmd"] == f"python -m hydra_ml.stages.{stage} --task ${{item}}"
    inputs = {f"data/{INPUTS[name]}/${{item}}" for name, may_lack in main.folders.items() if name in INPUTS}
    declared = {dep for dep in do["deps"] if "${item}" in dep}
    assert inputs <= declared
    # What is declared and not read stops the chain: nothing is ranked before the tables have passed.
    assert declared - inputs == ({"data/validate/${item}"} if stage == "retrieve" else set())
    assert main.asks_llm == (("llm.model" in do["params"]) and stage != "evaluate")
    for dep in do["deps"]:
        if "${item}" not in dep:
            assert (ROOT / dep).exists(), f"{stage} depends on {dep}, which is not there"


def test_params_file_states_every_key_with_its_default():
    written = YAML(typ="safe").load((ROOT / "params.yaml").read_text("utf-8"))
    assert written == Params().model_dump(by_alias=True)


# Modules that cannot change what a stage computes: frame, files, types, caches; the encoder has a digest of its own.
PLUMBING = {
    "errors",
    "shown_text",
    "params",
    "terminal",
    "llm/chat",
    "stages/command",
    "io/layout",
    "io/lent_file",
    "io/task_files",
    "io/files",
    "io/private_files",
    "io/tables",
    "io/user_tables",
    "io/parquet_rows",
    "io/sqlite_file",
    "io/params_file",
    "io/llm_environment",
    "io/feature_cache",
    "io/response_cache",
    "io/night_ledger",
    "io/bounded_json",
    "io/bounded_yaml",
    "io/encoders",
}
# The stand-in of the sample. A change to it must not throw away a real LLM's answers; its own come from the response
# cache all the same, so whoever changes it clears .cache.
STAND_IN = "hydra_ml/offline/"
FRONT_DOOR = ROOT / "hydra_ml/__init__.py"  # loads what it names when it is used
DEFINITIONS = "tasks"  # no code: YAML that `prepare` reads


def import_closure(path: Path) -> set[Path]:
    """Every module of ours that is imported from here, directly or not."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hydra_ml"):
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    place = ROOT / name.replace(".", "/")
                    found = (place.with_suffix(".py"), place / "__init__.py")
                    waiting += [p for p in found if p.exists() and p != FRONT_DOOR]
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_change_to_code_that_a_stage_runs_makes_dvc_run_it_again(stage):
    code = {path.relative_to(ROOT).as_posix() for path in import_closure(ROOT / f"hydra_ml/stages/{stage}.py")}
    code = {path for path in code if not path.startswith(STAND_IN) and not path.endswith("/__init__.py")}
    code -= {f"hydra_ml/{name}.py" for name in PLUMBING}
    declared = [dep for dep in PIPELINE[stage]["do"]["deps"] if "${item}" not in dep and dep != DEFINITIONS]
    missing = {path for path in code if not any(path == dep or path.startswith(f"{dep}/") for dep in declared)}
    assert not missing
    idle = [dep for dep in declared if not any(path == dep or path.startswith(f"{dep}/") for path in code)]
    assert not idle, "deps that nobody imports"
