"""promote: judges a release against the champion on the frozen queries, and moves the pointer that makes it live.

Pointers (aliases of the release model) move under a lock file and only after the champion is read again inside it, so
that two promotions at once leave one consistent champion. The lock holds on one machine; across machines Prefect's
concurrency limit on the deployment does. A kill between two pointer moves is healed by running the same command again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hydra_ml.errors import ArtifactError, BudgetExceeded, HydraError, LLMError, OtherVersionError, ParamsError
from hydra_ml.evaluation.decision import Decision, Reason
from hydra_ml.evaluation.gate import (
    answers_alike,
    compare_answers,
    judge_comparison,
    judge_fit,
    judge_heads,
    judge_hold,
    judge_llms,
    judge_other_version,
    judge_past,
)
from hydra_ml.io.files import file_digest, load_json
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.weights import check_schema
from hydra_ml.jobs.feedback_evidence import feedback_evidence
from hydra_ml.jobs.heads_compare import measure_users
from hydra_ml.jobs.hold import hold, hold_of
from hydra_ml.params import Params
from hydra_ml.release import PARTS, Release
from hydra_ml.serving.frozen_queries import FrozenQueries
from hydra_ml.serving.open_release import release_params
from hydra_ml.serving.signed_release import check_signature, signature_fault
from hydra_ml.tasks.task import Task

CACHE = Path(".cache")
BASE_WEIGHTS = "base.safetensors"
LOCK_WAIT_S = 60.0  # pointer moves take well under a second
ATTEMPTS = 3  # how often a release is judged anew because another one became champion meanwhile


def judge(
    task: Task,
    params: Params,
    *,
    data: Path,
    registry: Registry,
    version: str = "challenger",
    cache: Path = CACHE,
) -> Decision:
    """Whether a release may become champion; changes nothing in the registry.

    Both releases answer the evaluate-role queries of data/prepare/<task> the way they answer requests; where they share
    bases and settings, only for users whose heads differ, all others tie. Without a champion, fitting heads and passed
    validation are all that is asked. Answers are kept below cache/gate, so that judging again is cheap.
    Raises ArtifactError if a release or component is missing or tampered with, LLMError if the LLM is out of reach.
    """
    version, challenger = registry.release(task, version)
    now = _now()
    against = registry.aliases(task).get("champion")
    if against == version:
        return Decision(task.name, version, against, (Reason("live", True, "it is champion already"),), None, now)
    signed = _signed(task, registry, version, challenger, params.promote.require_signature)
    if not all(reason.passed for reason in signed):  # nothing of it is opened
        return Decision(task.name, version, against, tuple(signed), None, now)
    reasons = [*signed, _validation(data, task, challenger), *_fit(task, challenger, registry)]
    if against is None:
        first = Reason("first", True, "there is no champion yet: nothing to compare with")
        return Decision(task.name, version, None, (*reasons, first), None, now)
    past = judge_past(registry.release_tags(task, version).get("rolled_back_at", "")) + _held(task, registry)
    if not all(reason.passed for reason in reasons):
        return Decision(task.name, version, against, tuple(reasons), None, now)
    champion = registry.release(task, against)[1]
    check_signature(task, registry, against, champion, params.promote.require_signature)
    frozen = FrozenQueries(data, task, registry, cache, params.llm)
    if champion.llm != challenger.llm:
        try:
            frozen.answers((against, champion))
        except (BudgetExceeded, OtherVersionError):
            raise
        except (LLMError, ParamsError) as error:  # its LLM is a thing of the past, perhaps: the operator's to decide
            told = judge_llms(champion, challenger, cannot_ask=str(error).partition("\n")[0])
            return Decision(task.name, version, against, (*reasons, *told, *past), None, now)
    try:
        answers, n_affected = frozen.side_by_side((against, champion), (version, challenger))
    except OtherVersionError as error:  # the champion's: `_fit` has opened the challenger
        told = [judge_other_version(against, str(error).partition("\n")[0])]
        return Decision(task.name, version, against, (*reasons, *told, *past), None, now)
    figures = compare_answers(
        answers, task, n_affected=n_affected, resamples=params.promote.resamples, seed=params.seed
    )
    told = judge_llms(champion, challenger, is_other_model=bool(frozen.asked_anew), as_kept=against in frozen.as_kept)
    told += feedback_evidence(task, against, version, data=data, registry=registry, cache=cache)
    reasons += told + judge_comparison(figures, params.promote) + past
    return Decision(task.name, version, against, tuple(reasons), figures, now)


def promote(
    task: Task,
    params: Params,
    *,
    data: Path,
    registry: Registry,
    version: str = "challenger",
    cache: Path = CACHE,
    force: str = "",
) -> Decision:
    """Judge a release, tag it with what was found, and if it passed make it champion: previous := champion before.

    force: why it is to be promoted though a rule fails, recorded as tag; it cannot promote heads on a foreign base,
    which could not answer. Promoting the champion changes nothing, nor does promoting the challenger once it went live:
    the same command may be run again. Raises as `judge` does.
    """
    version, _ = registry.release(task, _meant(task, registry, version))  # once: the alias may move meanwhile
    for _ in range(ATTEMPTS):
        decision = judge(task, params, data=data, registry=registry, version=version, cache=cache)
        if decision.figures is not None:  # from the answers just compared: what `heads compare` and MLflow's view show
            measure_users(task, params, data=data, registry=registry, version=version, cache=cache)
        with _pointers_locked(task, cache):
            aliases = registry.aliases(task)
            if aliases.get("champion") != decision.against and aliases.get("champion") != version:
                continue  # another release became champion meanwhile: judge against that one
            return _carry_out(decision, task, registry, aliases, force)
    raise HydraError(
        f"{task.name}: the champion changed {ATTEMPTS} times while release {version} was judged, and nothing was "
        "promoted. See `hydra-ml status` for who else promotes, and run `hydra-ml promote` again."
    )


def rollback(
    task: Task, registry: Registry, *, reason: str = "", cache: Path = CACHE, signed_with: str = ""
) -> tuple[str, str]:
    """Make the previous champion live again with one pointer move; returns the versions (left, live now). signed_with:
    the public key that must have signed it; "": none.

    The alias `previous` goes with it, so that a second rollback finds nothing to go back to instead of toggling. What
    an operator took back, no schedule brings back: the release left behind passes no gate from then on, and until
    `release_hold` lifts it, nor does any other, which may have learned the same again; people may force one. Raises
    ArtifactError if there is no previous release, or if it was altered.
    """
    with _pointers_locked(task, cache):
        aliases = registry.aliases(task)
        left, back = aliases.get("champion"), aliases.get("previous")
        if back is None or left is None or back == left:
            if back is not None and back == left:  # an earlier rollback or promotion was killed between two moves
                registry.point(task, {"previous": None})
            raise ArtifactError(
                f"{task.name}: no previous release to go back to; live is {left or 'none'}. `hydra-ml status` lists "
                "what is live; make any registered release champion with `hydra-ml promote --version N`."
            )
        release = registry.release(task, back)[1]
        check_signature(task, registry, back, release, signed_with)
        _fit(task, release, registry)  # all there and unaltered, before it goes live
        now = _now()
        hold(task, registry, f"rolled back from release {left} to {back}" + (f": {reason}" if reason else ""))
        registry.tag_release(task, left, {"rolled_back_at": now, "rolled_back_for": reason})
        registry.tag_release(task, back, {"restored_at": now})
        registry.point(task, {"champion": back})
        registry.point(task, {"previous": None})
    return left, back


def _carry_out(decision: Decision, task: Task, registry: Registry, aliases: dict[str, str], force: str) -> Decision:
    """Tag the release, and move the pointers if it may become champion. Holds the lock."""
    version, champion = decision.version, aliases.get("champion")
    if champion == version:
        tags = registry.release_tags(task, version)
        if "promoted_at" not in tags:
            registry.tag_release(task, version, {"promoted_at": decision.judged_at})
        _forget_challenger(task, registry, aliases, version)
        return replace(decision, promoted_at=tags.get("promoted_at", decision.judged_at))
    if late := [reason for reason in _held(task, registry) if reason.name not in {r.name for r in decision.reasons}]:
        decision = replace(decision, reasons=(*decision.reasons, *late))  # held while it was being judged
    fits = all(reason.passed for reason in decision.reasons if reason.name in ("compatible", "signed"))
    if decision.passed or (force and fits):
        decision = replace(decision, promoted_at=_now(), forced="" if decision.passed else force)
    registry.tag_release(task, version, decision.tags())
    registry.describe_release(task, version, decision.markdown().removeprefix("# "))
    if decision.promoted_at:
        if champion is not None and not _same_parts(task, registry, champion, version):
            registry.point(task, {"previous": champion})  # the way back from equal parts would lead nowhere
        registry.point(task, {"champion": version})
        _forget_challenger(task, registry, aliases, version)
    return decision


def _meant(task: Task, registry: Registry, version: str) -> str:
    """The release to judge: where the challenger went live and none has come since, that one."""
    pointers = registry.aliases(task)
    champion = pointers.get("champion")
    if version != "challenger" or version in pointers or champion is None:
        return version
    went_live = registry.release_tags(task, champion).get("promoted_at")
    return champion if went_live else version


def _held(task: Task, registry: Registry) -> list[Reason]:
    found = hold_of(task, registry)
    return judge_hold(found.reason, found.since) if found else []


def _same_parts(task: Task, registry: Registry, one: str, other: str) -> bool:
    """Whether two releases answer everybody alike: equal parts and settings, though one has seen more drops."""
    first, second = (registry.release(task, version)[1] for version in (one, other))
    digests = [{part: release.components[part].digest for part in PARTS} for release in (first, second)]
    return digests[0] == digests[1] and answers_alike(first, second)


def _forget_challenger(task: Task, registry: Registry, aliases: dict[str, str], version: str) -> None:
    if aliases.get("challenger") == version:
        registry.point(task, {"challenger": None})


@contextmanager
def _pointers_locked(task: Task, cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"promote-{task.folder}.lock"
    try:
        with FileLock(path, timeout=LOCK_WAIT_S):
            yield
    except Timeout:
        raise HydraError(
            f"{path}: held by another promotion or rollback of {task.name} for over {LOCK_WAIT_S:.0f} s; nothing was "
            "changed. Wait for it to end, or stop it, and run again."
        ) from None


def _validation(data: Path, task: Task, release: Release) -> Reason:
    """Great Expectations passed, on the release's data and on the tables that hold the frozen queries."""
    report = task_folder(data, "validate", task) / "report.json"
    findings = load_json(report)
    failed = sum(bool(finding["failed"]) for finding in findings)
    made = "passed" if release.validated else "did NOT pass"
    return Reason(
        "validated",
        release.validated and not failed,
        f"Great Expectations {made} on the data it was made from; on the frozen queries {failed} of {len(findings)} "
        "expectations failed",
    )


def _signed(task: Task, registry: Registry, version: str, release: Release, public: str) -> list[Reason]:
    """Whether the operator's key signed it; [] where none is asked for."""
    if not public:
        return []
    fault = signature_fault(task, registry, version, release, public)
    return [Reason("signed", not fault, fault or "the operator's key signed it")]


def _fit(task: Task, release: Release, registry: Registry) -> list[Reason]:
    """Whether heads and bases belong together, and what spoke for heads. Fetching checks manifests; here the bases'
    weights and versions are checked too, which a release that is not compared with another would be promoted without
    reading."""
    release_params(release, f"{task.name} release")
    folders = {part: registry.fetch(task, release.components[part]) for part in PARTS}
    manifests = {part: load_json(folder / "manifest.json") for part, folder in folders.items()}
    for part in ("reranker.base", "adapter.base"):
        check_schema(manifests[part], folders[part])
        weights = folders[part] / BASE_WEIGHTS
        if not weights.is_file() or file_digest(weights) != manifests[part]["digest"]:
            raise ArtifactError(
                f"{weights}: missing, or not what was registered as {part} of {task.name}. Restore it from a backup of "
                "the store, or run the nightly flow to make a new release."
            )
    return [judge_fit(manifests, task), *judge_heads(manifests)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
