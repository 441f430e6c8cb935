"""Where one machine's stack lives, and what its servers, its worker and its commands are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra_ml.io.own_stack import OwnStack, new_secret

SILENT = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


@dataclass(frozen=True)
class Stack:
    """Where one machine's stack lives: the project's folder, its ports, and the secret of Prefect's API."""

    root: Path
    prefect_port: int
    mlflow_port: int
    auth: str = field(default_factory=new_secret, repr=False)
    docs_port: int = 8808

    @property
    def kept(self) -> OwnStack:
        """What is kept of it for the commands of this folder."""
        known = OwnStack(self.prefect_port, self.mlflow_port, self.auth, self.docs_port)
        return replace(known, llm=known.llm_mark(os.environ))

    @property
    def prefect_url(self) -> str:
        return self.kept.prefect_url

    @property
    def mlflow_url(self) -> str:
        return self.kept.mlflow_url

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """`given` with all that servers, worker and commands need; databases already named there are kept."""
        homes = {
            "HYDRA_ROOT": str(self.root),
            "HYDRA_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.root), given.get("PYTHONPATH")])),  # for flows/
            "HYDRA_MLFLOW_STORE": given.get("HYDRA_MLFLOW_STORE", f"sqlite:///{self.root}/.mlflow/mlflow.db"),
            "MLFLOW_PORT": str(self.mlflow_port),
            "DOCS_PORT": str(self.docs_port),
            "PREFECT_PORT": str(self.prefect_port),
            "PREFECT_HOME": str(self.root / ".prefect"),
            "PREFECT_SERVER_API_PORT": str(self.prefect_port),  # the UI asks this port, whatever --port says
            "PREFECT_UI_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            # Prefect's runner keeps folders below the temporary one under fixed names: one shared by two accounts
            # would be the first one's.
            "TMPDIR": str(self.root / ".tmp"),
            **self.kept.addresses(),
            **self._locks(),
        }
        return {"HF_HUB_OFFLINE": "1", **given, **SILENT, **homes}

    def _locks(self) -> dict[str, str]:
        """Who may use Prefect's API: whoever knows the secret, and no page of another address. A flow run can start any
        program as this account, with the LLM's key in its environment."""
        own = ",".join(f"http://{host}:{self.prefect_port}" for host in ("127.0.0.1", "localhost"))
        return {
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": own,
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        }

    def log(self, program: str) -> Path:
        return self.root / ".logs" / f"{program}.log"

    def supervisor(self) -> int | None:
        """Process id of this stack's running supervisord; None when it is down."""
        try:
            pid = int(self.log("supervisord").with_suffix(".pid").read_text("utf-8"))
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        line = Path(f"/proc/{pid}/cmdline")  # after a reboot the number may be somebody else's
        known = not line.parent.parent.exists() or os.fsencode(self.root / "supervisord.conf") in line.read_bytes()
        return pid if known else None
