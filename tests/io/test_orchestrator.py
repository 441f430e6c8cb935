"""What a real Prefect server says of planned and failed runs, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from hydra_ml.errors import HydraError
from hydra_ml.io.orchestrator import forget_in_prefect, found_in_prefect, read_schedule
from hydra_ml.io.traces import KINDS, Fields, Marks

PREFECTS = "Flow run encountered an exception: VersionsError: "  # what Prefect puts before a failure's own words
SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a fresh server that knows three deployments and their runs."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL
    from prefect.states import Completed, Failed, Scheduled
    from prefect.testing.utilities import prefect_test_harness

    @flow
    def work() -> None:
        """Never run here."""

    with prefect_test_harness(server_startup_timeout=60), get_client(sync_client=True) as client:
        flow_id = client.create_flow(work)

        def run(deployment: str, name: str, state) -> None:
            where = client.create_deployment(flow_id, deployment)
            client.create_flow_run_from_deployment(where, name=name, state=state)

        run("nightly", "nightly-later", Scheduled(scheduled_time=SOON + timedelta(days=1)))
        run("nightly", "nightly-next", Scheduled(scheduled_time=SOON + timedelta(hours=1)))
        run("update-heads", "update-heads-next", Scheduled(scheduled_time=SOON))
        run("update-heads", "update-heads-good", Completed())
        run("ingest", "ingest-bad", Failed(message="the disk was full"))
        run("ingest", "ingest-good", Completed())
        run("batch-score", "batch-score-bad", Failed(message=f"{PREFECTS}MLflow is out of reach\nTrace"))
        client.create_flow_run(work, name="by-hand", state=Failed(message=""))
        yield str(PREFECT_API_URL.value())


def test_the_next_run_of_every_deployment_soonest_first(server):
    runs = read_schedule(server).next_runs
    assert [(run.deployment, run.name, run.state) for run in runs] == [
        ("update-heads", "update-heads-next", "Scheduled"),
        ("nightly", "nightly-next", "Scheduled"),
    ]
    assert datetime.fromisoformat(runs[0].at) == SOON


def test_the_last_failures_newest_first_with_the_first_line_of_the_reason(server):
    failures = read_schedule(server).failures
    assert [(run.deployment, run.name, run.reason) for run in failures] == [
        ("", "by-hand", ""),
        ("batch-score", "batch-score-bad", "MLflow is out of reach"),
        ("ingest", "ingest-bad", "the disk was full"),
    ]
    assert all(datetime.fromisoformat(run.at).tzinfo is not None for run in failures)
    assert [run.name for run in failures if run.settled] == ["ingest-bad"], "it went well since"
    assert [run.name for run in read_schedule(server, n_failures=1).failures] == ["by-hand"]


def test_the_address_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server)
    assert read_schedule().next_runs == read_schedule(server).next_runs


def test_no_address_says_so(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(HydraError, match="PREFECT_API_URL is not set"):
        read_schedule()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "nonsense", "http://u:secret@127.0.0.1:9/api"])
def test_a_server_out_of_reach_is_one_clear_message_without_secrets(url):
    with pytest.raises(HydraError, match="no Prefect server answers there") as caught:
        read_schedule(url)
    assert "secret" not in str(caught.value)


def test_another_server_at_that_address_is_told_from_prefect(server):
    with pytest.raises(HydraError, match="no Prefect server answers there"):
        read_schedule(server.removesuffix("/api") + "/nowhere")


def test_artifacts_and_parameters_that_name_a_forgotten_user_go_and_others_stay(server, monkeypatch):
    from prefect import flow
    from prefect.artifacts import Artifact
    from prefect.client.orchestration import get_client

    @flow
    def asked(user: str) -> None:
        """Never run here."""

    monkeypatch.setenv("PREFECT_API_URL", server)
    found = {kind: frozenset[str]() for kind in KINDS}
    marks = Marks(
        "ann-7", "", {**found, "user": frozenset({"ann-7"}), "text": frozenset({"quixotic film"})}, Fields.now()
    )
    with get_client(sync_client=True) as client:
        runs = [client.create_flow_run(asked, parameters={"user": user}) for user in ("ann-7", "ann-70")]
    kept = Artifact(key="kept", data="of ann-70").create()
    gone = [Artifact(key="gone", data=text).create() for text in ("| ann-7 | 3 |", "<p>a quixotic film</p>")]

    assert len(found_in_prefect(marks)) == 3
    assert forget_in_prefect(marks) == 3
    assert not found_in_prefect(marks)
    with get_client(sync_client=True) as client:
        assert [client.read_flow_run(run.id).parameters for run in runs] == [{}, {"user": "ann-70"}]
        left = {artifact.id for artifact in client.read_artifacts()}
    assert kept.id in left
    assert not {one.id for one in gone} & left
