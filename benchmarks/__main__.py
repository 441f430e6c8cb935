"""Run the benchmarks, print the table, write results.json and a plot.

    python -m benchmarks [encoder heads ...] [--quick] [--out benchmarks/results]

Each module runs in a process of its own, so that no thread setting or warm cache of one helps or hinders the next. Rows
of modules that are not named stay as the last run left them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODULES = ("encoder", "heads", "retrieval", "head_bank", "llm_calls", "batch_score", "nightly")
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run? The figures mean little.")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="folder of results.json and plot")
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)  # the process of one module: rows to FILE
    options = parser.parse_args()
    unknown = set(options.modules) - set(MODULES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    if options.one:
        return run_one(options.modules[0], quick=options.quick, out=Path(options.one))
    from benchmarks import machine, report

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    document: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {"modules": {}}
    document["machine"] = machine.describe()
    failed = []
    for name in options.modules or MODULES:
        found = spawn(name, quick=options.quick)
        if found is None:
            failed.append(name)
            continue
        document["modules"][name] = {"date": time.strftime("%Y-%m-%d"), "quick": options.quick, "rows": found}
        report.write_json(document, path)
    rows = [row for name in MODULES for row in document["modules"].get(name, {}).get("rows", [])]
    print(report.table(rows))
    report.plot(rows, options.out / "results.png")
    print(f"\n{path}\n{options.out / 'results.png'}")
    if failed:
        print(f"failed: {', '.join(failed)}; see the errors above", file=sys.stderr)
    return 1 if failed else 0


def spawn(name: str, *, quick: bool) -> list[dict[str, Any]] | None:
    """The rows of one module, run in its own process; None if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks", name, "--one", str(out), *(["--quick"] if quick else [])]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False)
        if done.returncode:
            return None
        rows: list[dict[str, Any]] = json.loads(out.read_text("utf-8"))
        return rows


def run_one(name: str, *, quick: bool, out: Path) -> int:
    """Run one module here and write its rows to `out`."""
    rows = importlib.import_module(f"benchmarks.{name}").rows(quick=quick)
    out.write_text(json.dumps([row.document() for row in rows]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
