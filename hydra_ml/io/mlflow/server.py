"""MLflow's server behind a password: `python -m hydra_ml.io.mlflow.server --port 5000 --artifacts DIR`.

MLflow's own basic-auth application keeps users and rights per model in a database of its own and is experimental; here
one password opens everything, as with Prefect. One process: artifacts are read and written at their own place.
"""

from __future__ import annotations

import argparse
import os
import sys

from hydra_ml.io.password_gate import PasswordGate, own_hosts

USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"  # as MLflow's clients read them
STORE = "MLFLOW_BACKEND_STORE_URI"


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; 1 where the environment names no password or no store.

    Of the environment: USER and PASSWORD, and STORE, where runs and models are kept.
    """
    parser = argparse.ArgumentParser(prog="python -m hydra_ml.io.mlflow.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--artifacts", required=True, help="address of the folder for artifacts: file:///..., s3://...")
    parser.add_argument(
        "--hosts", default="", help="names and ports it is asked by, with commas; default: this machine's"
    )
    options = parser.parse_args(argv)
    missing = [name for name in (USER, PASSWORD, STORE) if not os.environ.get(name)]
    if missing:
        print(f"mlflow server: {', '.join(missing)} not set in the environment; see docs/security.md", file=sys.stderr)
        return 1
    hosts = [host.strip() for host in options.hosts.split(",") if host.strip()] or own_hosts(options.port)
    store = os.environ[STORE]
    # MLflow's application reads these when it is imported; its command line sets the same.
    from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR

    os.environ[BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[ARTIFACT_ROOT_ENV_VAR] = options.artifacts
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(hosts)
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(f"http://{host}" for host in hosts)
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, options.artifacts)
    auth = f"{os.environ[USER]}:{os.environ[PASSWORD]}"
    uvicorn.run(PasswordGate(app, auth=auth, hosts=hosts), host=options.host, port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
