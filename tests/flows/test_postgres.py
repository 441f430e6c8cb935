"""The same stack with PostgreSQL behind both servers, as docker/compose.yaml has it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_ml.tasks import get_task
from tests.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def binaries() -> Path:
    """PostgreSQL's programs: on the path, or where Debian puts them."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("PostgreSQL is not installed: apt-get install --yes postgresql")
    return places[-1]


def as_postgres(*command: str) -> None:
    """Run a command as a user who is not root, for PostgreSQL refuses to serve root."""
    user = ["runuser", "--user", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*user, *command], check=True, capture_output=True, text=True, cwd="/tmp")


@pytest.fixture
def postgres(tmp_path_factory) -> Iterator[str]:
    """user@address of a fresh server with the databases prefect and mlflow."""
    programs, home, port = binaries(), tmp_path_factory.mktemp("postgres"), str(free_port())
    if os.geteuid() == 0:
        for folder in (home, *home.parents):
            if folder.stat().st_uid == 0 and str(folder) not in ("/", "/tmp"):
                folder.chmod(folder.stat().st_mode | 0o055)
        os.chown(home, pwd.getpwnam("postgres").pw_uid, -1)
    data = str(home / "data")
    as_postgres(str(programs / "initdb"), "--username=hydra", "--auth=trust", f"--pgdata={data}")
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1"
    control = [str(programs / "pg_ctl"), f"--pgdata={data}", "--wait"]
    as_postgres(*control, f"--log={home}/log", f"--options={options}", "start")
    try:
        for name in ("prefect", "mlflow"):
            as_postgres(str(programs / "createdb"), "-h", "127.0.0.1", "-p", port, "-U", "hydra", name)
        yield f"hydra@127.0.0.1:{port}"
    finally:
        as_postgres(*control, "--mode=fast", "stop")


def test_a_night_on_postgresql(postgres, chain, start_product, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"postgresql+asyncpg://{postgres}/prefect")
    monkeypatch.setenv("HYDRA_MLFLOW_STORE", f"postgresql+psycopg2://{postgres}/mlflow")
    with start_product("on-postgres") as product:
        run = product.finish(product.start("nightly/nightly"), within=600)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        assert product.registry.aliases(get_task(chain.task))["champion"] == "1"
        assert not list(product.root.glob(".mlflow/*.db")), "the MLflow store is PostgreSQL's"
        assert not list(product.root.glob(".prefect/*.db")), "Prefect's too"
