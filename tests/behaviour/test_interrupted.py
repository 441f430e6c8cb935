"""kill -9 in the middle of paying for answers: nothing half-written, nothing paid twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bought(cache: Path) -> int:
    try:
        with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return sum(db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables if name == "answers")
    except sqlite3.Error:
        return 0


def command(root: Path) -> list[str]:
    options = [
        "--task",
        "LaMP_2",
        "--params",
        root / "params.yaml",
        "--cache",
        root / ".cache",
        "--out",
        root / "annotate",
    ]
    options += ["--prepared", root / "prepare", "--retrieved", root / "retrieve"]
    return [sys.executable, "-m", "hydra_ml.stages.annotate", *map(str, options)]


def test_a_killed_stage_goes_on_where_it_stopped(chain, tmp_path):
    root = tmp_path / "chain"
    shutil.copytree(chain.root, root, ignore=shutil.ignore_patterns("annotate", "responses.sqlite*"))
    cache = root / ".cache/responses.sqlite"
    first = subprocess.Popen(command(root), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while bought(cache) < 5 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    paid = bought(cache)
    rows = chain.summaries["annotate"]["rows"]
    assert 5 <= paid < rows, "killed too early or too late to show anything"
    assert not (root / "annotate/annotations.parquet").exists()

    second = subprocess.run(command(root), cwd=ROOT, capture_output=True, text=True, check=True)
    summary = json.loads(second.stdout)
    assert summary["cached"] >= paid
    whole = (root / "annotate/annotations.parquet").read_bytes()
    assert whole == chain.path("annotate", "annotations.parquet").read_bytes()
