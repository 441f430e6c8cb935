"""promote, as the worker runs it by hand."""

from __future__ import annotations

import pytest

from hydra_ml.tasks import get_task

pytestmark = pytest.mark.timeout(600)


def test_promoting_the_champion_changes_nothing(product, night, registry, chain):
    before = registry.aliases(get_task(chain.task))
    run = product.finish(product.start("promote/promote", version="champion"))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert registry.aliases(get_task(chain.task)) == before


def test_a_release_that_is_not_there_fails_and_says_so(product, night):
    run = product.finish(product.start("promote/promote", version="77", tasks=["LaMP_2"]))
    assert run["state_type"] == "FAILED"
    assert "1 of 1 tasks failed. LaMP_2: lamp-2.release" in run["state"]["message"]
    told = [event["payload"] for event in product.events("hydra_ml.promote.failed")]
    assert [(payload["flow_run"], payload["error"]) for payload in told] == [(run["name"], "FlowFailed")]


def test_wrong_parameters_are_refused_before_anything_runs(product):
    with pytest.raises(Exception, match="409"):
        product.start("promote/promote", tasks=["no name of a task"])
