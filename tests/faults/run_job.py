"""Runs one job in the project that is the working directory, under a fault: python -m tests.faults.run_job JOB KIND AT.

Exit code: the job's own (0; 1 with one line where it fails by an error that users are told), 3 for a traceback.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra_ml.errors import HydraError, exit_of
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import load_params
from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.jobs.ingest import find_drops, ingest_drop
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.jobs.promote import promote
from hydra_ml.jobs.update_heads import plan_update, update_shard
from hydra_ml.jobs.update_release import finish_update
from hydra_ml.jobs.waiting_requests import waiting_requests
from hydra_ml.tasks import get_task
from tests.faults.fault import arm

ROOT, TASK = Path(__file__).parents[2], get_task("LaMP_2")


def places(root: Path) -> dict:
    registry = Registry(f"sqlite:///{root / '.mlflow' / 'mlflow.db'}", cache=root / ".cache")
    return {"data": root / "data", "registry": registry, "cache": root / ".cache"}


def ingest(root: Path) -> None:
    """Every drop that waits."""
    params = load_params(root / "params.yaml")
    for path in find_drops(root / "data/incoming", 0):
        ingest_drop(path, data=root / "data", params=params)


def nightly(root: Path) -> None:
    """What comes after the stages: a release of their outputs, registered and put up."""
    where = places(root)
    params = load_params(root / "params.yaml")
    register_chain(TASK, params, data=where["data"], run_name="second", registry=where["registry"])


def update_heads(root: Path) -> None:
    """Every shard, then the release."""
    plan = plan_update(TASK, load_params(root / "params.yaml"), **places(root), root=ROOT)
    finish_update(plan, [update_shard(plan, shard) for shard in range(plan.n_shards)], "update")


def batch_score(root: Path) -> None:
    """Every file that waits."""
    for path in waiting_requests(TASK, data=root / "data"):
        score_requests(path, TASK, load_params(root / "params.yaml"), **places(root))


def promote_challenger(root: Path) -> None:
    """The challenger judged, and made live if it passes."""
    promote(TASK, load_params(root / "params.yaml"), **places(root))


JOBS: dict[str, Callable[[Path], None]] = {
    "ingest": ingest,
    "nightly": nightly,
    "update_heads": update_heads,
    "batch_score": batch_score,
    "promote": promote_challenger,
}


def main(job: str, kind: str, at: str) -> int:
    """Run it; the exit code."""
    root = Path.cwd()
    arm(kind, int(at), root, root.parent / "trace.txt")  # type: ignore[arg-type]
    try:
        JOBS[job](root)
    except (HydraError, OSError) as error:
        told, code = exit_of(error)
        print(told, file=sys.stderr)
        return code
    except Exception:
        traceback.print_exc()
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
