"""What `make up` runs in this project's folder: where its servers answer, the secret they ask for, what they last said.

Kept in .prefect/stack.json, readable by its owner alone. `flows.stack` writes it; commands read it, so that they find
the servers of the folder they stand in without a word in the environment.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shlex
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra_ml.errors import ArtifactError
from hydra_ml.io.bounded_json import checked_as, parse_json

KEPT = Path(".prefect") / "stack.json"
LLM_NAMES = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL")  # what a worker is told of the LLM when it starts


@dataclass(frozen=True)
class OwnStack:
    """One machine's stack as it was last started."""

    prefect_port: int
    mlflow_port: int
    auth: str  # "user:password" for Prefect, MLflow and the Data Docs
    docs_port: int = 0  # of the Data Docs; 0: no server shows them
    llm: str = ""  # `llm_mark` of the environment the worker was started in

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def docs_url(self) -> str:
        return f"http://127.0.0.1:{self.docs_port}"

    def addresses(self) -> dict[str, str]:
        """What a command needs in its environment to speak to the servers."""
        return {
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_API_AUTH_STRING": self.auth,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            **self.mlflow_login(),
        }

    def mlflow_login(self) -> dict[str, str]:
        """The same secret as MLflow's clients read it."""
        user, _, password = self.auth.partition(":")
        return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}

    def exports(self) -> str:
        """The same as a shell reads it: `eval "$(hydra-ml env)"`."""
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in self.addresses().items())

    def llm_mark(self, environment: Mapping[str, str]) -> str:
        """32 hex digits that change with the LLM's names in an environment and tell nothing of them."""
        told = json.dumps([environment.get(name, "") for name in LLM_NAMES])
        return hmac.new(self.auth.encode(), told.encode(), hashlib.sha256).hexdigest()[:32]


def new_secret() -> str:
    """A user name and a password nobody can guess, as Prefect wants them."""
    return f"hydra:{secrets.token_urlsafe(24)}"


def load_own_stack(root: Path = Path()) -> OwnStack | None:
    """The stack of the folder; None if none was ever started there. Raises ArtifactError if the file is damaged or is
    another account's."""
    path = root / KEPT
    try:
        return checked_as(OwnStack, parse_json(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ArtifactError(
            f"{path}: belongs to another account, whose stack this is. Ask it, or name servers."
        ) from None
    except ValueError as error:
        raise ArtifactError(f"{path}: not what `make up` wrote ({error}). Delete it, then `make restart`.") from error


def save_own_stack(stack: OwnStack, root: Path) -> None:
    """Keep it, for nobody else to read, not even for a moment."""
    path = root / KEPT
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(stack), file)
    os.replace(partial, path)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the port of this machine's own address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed counts as free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def last_words(log: Path, lines: int = 5) -> str:
    """The last lines of a program's log that say something; "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            said = [line.rstrip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return "\n".join(said[-lines:])
