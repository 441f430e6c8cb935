"""The compose file and the image, as far as they can be judged without a container engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker/compose.yaml").read_text("utf-8")
COMPOSE = YAML(typ="safe").load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
LONG_LIVED = sorted(set(SERVICES) - {"deploy"})


def environment(name):
    given = SERVICES[name].get("environment", {})
    if isinstance(given, list):
        return dict(entry.partition("=")[::2] for entry in given)
    return given


@pytest.mark.parametrize("name", LONG_LIVED)
def test_every_server_has_a_health_check_and_comes_back(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_is_root_or_can_become_it(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    own_image = service["image"].startswith("hydra-ml:")
    assert service.get("user") == "postgres" or own_image
    assert re.search(r"^USER 10001$", DOCKERFILE, re.M)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_secrets_come_from_the_environment_alone(name):
    for key, value in environment(name).items():
        if re.search("PASSWORD|KEY|TOKEN|SECRET|AUTH", key):
            assert value == "" or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), key
        if "://" in str(value) and "@" in str(value):
            assert re.search(r"//\w+:\$\{\w+:\?[^}]+\}@", value), key


def test_ports_are_open_on_this_host_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_volumes_are_named_and_declared():
    used = {v.split(":")[0] for service in SERVICES.values() for v in service.get("volumes", []) if v[0] not in "./"}
    assert used == set(COMPOSE["volumes"])


def test_mlflow_lets_its_own_names_in():
    (allowed,) = [flag for flag in SERVICES["mlflow"]["command"] if flag.startswith("--hosts=")]
    assert environment("worker")["MLFLOW_TRACKING_URI"].removeprefix("http://") in allowed
    assert "*" not in allowed
    assert environment("worker")["MLFLOW_TRACKING_PASSWORD"] == environment("mlflow")["MLFLOW_TRACKING_PASSWORD"]


def test_who_needs_whom_is_waited_for():
    assert SERVICES["prefect"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert SERVICES["mlflow"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert SERVICES["deploy"]["depends_on"]["prefect"]["condition"] == "service_healthy"
    assert SERVICES["worker"]["depends_on"] == {
        "deploy": {"condition": "service_completed_successfully"},
        "mlflow": {"condition": "service_healthy"},
    }


def test_images_are_pinned_and_files_they_copy_exist():
    assert re.search(r":\d+\.\d+", SERVICES["postgres"]["image"])
    copied = re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", DOCKERFILE, re.M)
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name in {name for line in copied for name in line.split()}:
        assert (ROOT / name).exists(), name
        assert f"!{name.split('/')[0]}" in allowed, f"{name} is kept from the build"


def test_what_a_build_must_not_see_is_kept_out():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    assert not {"!.env", "!data", "!.git", "!.cache"} & set(ignored)
