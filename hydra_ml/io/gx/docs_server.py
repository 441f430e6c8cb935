"""The Data Docs behind the stack's password: `python -m hydra_ml.io.gx.docs_server FOLDER --port 8808`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_ml.errors import HydraError, ParamsError
from hydra_ml.io.own_stack import load_own_stack
from hydra_ml.io.password_gate import HEALTH, PasswordGate, own_hosts

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def docs_app(folder: Path, *, auth: str, port: int) -> ASGIApp:
    """The folder's pages for who knows the password, and "ok" at HEALTH for everybody."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    pages = StaticFiles(directory=folder, html=True, check_dir=False)
    routes = [Route(HEALTH, lambda request: PlainTextResponse("ok")), Mount("/", pages)]
    return PasswordGate(Starlette(routes=routes), auth=auth, hosts=own_hosts(port))


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted, under the password of the stack of the working directory; 1 where there is none."""
    parser = argparse.ArgumentParser(prog="python -m hydra_ml.io.gx.docs_server", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8808)
    options = parser.parse_args(argv)
    import uvicorn

    try:
        stack = load_own_stack()
        if stack is None:
            raise ParamsError("no stack of this folder whose password to ask for: `make up` starts one.")
    except HydraError as error:
        print(f"docs server: {error}", file=sys.stderr)
        return error.exit_code
    app = docs_app(options.folder, auth=stack.auth, port=options.port)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
