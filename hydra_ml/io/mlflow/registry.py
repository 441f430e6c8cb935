"""The MLflow registry: every version of every component, and the release that pins one version of each.

A component is files under a digest (safetensors, never pickle); a release is a pyfunc model around `release.Release`.
Aliases live on the release alone, so that going live and going back are one pointer move.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_ml.errors import ArtifactError, without_secret
from hydra_ml.io.files import file_digest, load_json
from hydra_ml.io.mlflow.model_versions import MANIFEST, REMEDY, ModelVersions, VersionFacts
from hydra_ml.io.mlflow.release_package import RELEASE_FILE, description, save_release_model
from hydra_ml.io.mlflow.store import as_default, speaking, tracking_uri
from hydra_ml.io.mlflow.tracking import Tracking, flattened
from hydra_ml.model.interfaces import wrong_base
from hydra_ml.release import PARTS, ComponentRef, Release, model_name
from hydra_ml.tasks.task import Task

if TYPE_CHECKING:
    from hydra_ml.io.head_bank import HeadBank

ALIASES = ("champion", "challenger", "previous")
TRIES = 5  # of an alias: the first concurrent moves of one can collide in MLflow's database
LOST_RACE = ("UNIQUE constraint", "duplicate key")  # as SQLite and PostgreSQL say it
LONGEST_TAG = 5000  # characters MLflow takes
_NO_ALIAS = {
    "champion": "Run the nightly flow, or promote a version with `hydra-ml promote`.",
    "challenger": "Run the nightly flow to make one.",
    "previous": "Nothing was promoted over another release yet, so there is nothing to go back to.",
}


class Registry:
    """The models of one MLflow store. Raises ArtifactError when it cannot be reached, here and in every method."""

    def __init__(self, uri: str | None = None, *, cache: Path = Path(".cache")) -> None:
        """uri: None means MLFLOW_TRACKING_URI, else .mlflow/ here. cache: for files of a store elsewhere."""
        self.uri = uri or tracking_uri()
        self.tracking = Tracking(self.uri)
        self._client = self.tracking.client
        self._versions = ModelVersions(self.uri, cache / "registry")

    # Registering.

    def register_component(
        self,
        task: Task,
        part: str,
        folder: Path,
        *,
        run_id: str,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ComponentRef:
        """The version that holds the files of `folder`, which has a manifest.json: a new one, or the one that holds
        exactly this already, so that registering again after a kill changes nothing.

        metrics are logged in the run, on this model.
        """
        assert part in PARTS, part
        manifest = load_json(folder / MANIFEST)
        digest, name = file_digest(folder / MANIFEST), model_name(task, part)
        known = self._versions.with_digest(name, digest)
        if known is not None and self._versions.holds(known, folder):
            return ComponentRef(part, known.version, digest)
        facts = {"digest": digest, "task": task.name, "part": part, **_manifest_tags(manifest), **(tags or {})}
        version = self._register(task, name, folder, run_id, facts, metrics or {}, manifest.get("fit", {}), "")
        return ComponentRef(part, version, digest)

    def register_release(self, task: Task, release: Release, *, run_id: str) -> str:
        """The new release's version. Raises ArtifactError when a component is absent or altered, or when heads were
        fitted on another base than the one beside them."""
        self._check_together(task, release)
        tags = {name: getattr(release, name) for name in ("data_version", "git_commit", "made_by", "made_at", "llm")}
        tags |= {"task": task.name, "validated": str(release.validated).lower()}
        tags |= {part: ref.version for part, ref in release.components.items()}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "release"
            with speaking(self.uri, "package the release"), as_default(self.uri):  # packaging opens the default store
                save_release_model(release, task, folder)
            tags["digest"] = file_digest(folder / RELEASE_FILE)
            name, told = model_name(task, "release"), description(task, release)
            return self._register(task, name, folder, run_id, tags, {}, {}, told)

    def _register(
        self,
        task: Task,
        name: str,
        folder: Path,
        run_id: str,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        params: Mapping[str, Any],
        told: str,
    ) -> str:
        """The version made of the files of `folder`: a logged model of the run, then a registered version of it."""
        from mlflow.entities import LoggedModelOutput

        kept = {key: value[:LONGEST_TAG] for key, value in tags.items() if value}
        with speaking(self.uri, f"register {name}"):
            self._make_model(name)
            model = self._client.create_logged_model(
                self.tracking.experiment_id(task),
                name=name.replace(".", "_"),
                source_run_id=run_id,
                tags=kept,
                params=flattened(params),
                model_type=name.split(".", 1)[1],
            )
            self._client.log_model_artifacts(model.model_id, str(folder))
            self.tracking.run(run_id).log_metrics(metrics, model_id=model.model_id)
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            with as_default(self.uri):
                made = self._client.create_model_version(
                    name,
                    model.model_uri,
                    run_id=run_id,
                    model_id=model.model_id,
                    tags=kept,
                    description=told,
                    await_creation_for=0,
                )
        return str(made.version)

    def _make_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _check_together(self, task: Task, release: Release) -> None:
        for component in ("reranker", "adapter"):
            base_ref, heads_ref = (release.components[f"{component}.{half}"] for half in ("base", "heads"))
            base = load_json(self.fetch(task, base_ref) / MANIFEST)["digest"]
            if wrong := wrong_base(load_json(self.fetch(task, heads_ref) / MANIFEST), base):
                raise ArtifactError(
                    f"{model_name(task, heads_ref.part)} version {heads_ref.version} beside {base_ref.part} version "
                    f"{base_ref.version}: {wrong}. Register both halves of one training."
                )

    # Releases and pointers.

    def release(self, task: Task, which: str) -> tuple[str, Release]:
        """Version and manifest of a release. which: an alias of ALIASES, or a version number.

        Raises ArtifactError, with the remedy, if there is none, or if its manifest is not what was registered.
        """
        name = model_name(task, "release")
        facts = self._versions.facts(name, self._release_version(task, which))
        path = self._versions.files(facts) / RELEASE_FILE
        if not path.is_file():
            raise ArtifactError(f"{name} version {facts.version}: {path} is missing. {REMEDY}")
        if file_digest(path) != facts.tags.get("digest"):
            raise ArtifactError(f"{name} version {facts.version}: {path} is not what was registered. {REMEDY}")
        return facts.version, Release.from_document(load_json(path), f"{name} version {facts.version}")

    def aliases(self, task: Task) -> dict[str, str]:
        """Alias to release version, as strings; {} before the first release."""
        return self._versions.aliases(model_name(task, "release"))

    def point(self, task: Task, aliases: Mapping[str, str | None]) -> None:
        """Set aliases to release versions; None takes an alias away. Each is one move, in the order given."""
        name = model_name(task, "release")
        for alias, version in aliases.items():
            with speaking(self.uri, f"move {alias} of {name} to version {version}"):
                if version is not None:
                    _retried(self._client.set_registered_model_alias, name, alias, version)
                elif alias in self.aliases(task):
                    _retried(self._client.delete_registered_model_alias, name, alias)

    def tag_release(self, task: Task, version: str, tags: Mapping[str, str]) -> None:
        """Note something on a release version, such as a decision of the gate; "" takes a note away."""
        name = model_name(task, "release")
        with speaking(self.uri, f"tag {name} version {version}"):
            known = self.release_tags(task, version)
            for key, value in tags.items():
                if value:
                    self._client.set_model_version_tag(name, version, key, value[:LONGEST_TAG])
                elif key in known:
                    self._client.delete_model_version_tag(name, version, key)

    def describe_release(self, task: Task, version: str, told: str) -> None:
        """What the version's page in MLflow says below what it is made of."""
        name = model_name(task, "release")
        made_of = description(task, self.release(task, version)[1])
        with speaking(self.uri, f"describe {name} version {version}"):
            self._client.update_model_version(name, version, f"{told}\n\n{made_of}")

    def release_tags(self, task: Task, version: str) -> dict[str, str]:
        """Everything noted on a release version."""
        return dict(self._versions.facts(model_name(task, "release"), version).tags)

    def task_tags(self, task: Task) -> dict[str, str]:
        """What is noted on the task's releases as a whole; {} before the first release."""
        return self._versions.model_tags(model_name(task, "release"))

    def tag_task(self, task: Task, tags: Mapping[str, str | None]) -> None:
        """Note something on the task's releases as a whole; None takes a note away."""
        name = model_name(task, "release")
        with speaking(self.uri, f"tag {name}"):
            known = self.task_tags(task)
            for key, value in tags.items():
                if value is not None:
                    self._client.set_registered_model_tag(name, key, value[:LONGEST_TAG])
                elif key in known:
                    self._client.delete_registered_model_tag(name, key)

    def versions(self, task: Task, part: str) -> list[VersionFacts]:
        """Every version of a component, or of "release", newest first; [] where nothing was registered."""
        return self._versions.search(f"name='{model_name(task, part)}'")

    def version(self, task: Task, part: str, version: str) -> VersionFacts:
        """One version of a component, or of "release". Raises ArtifactError if there is none of that number."""
        return self._versions.facts(model_name(task, part), version)

    def files_of(self, facts: VersionFacts) -> Path:
        """The folder of a version's files, to be written to, unchecked. Raises as `ModelVersions.own_files`."""
        return self._versions.own_files(facts)

    def release_of_digest(self, task: Task, digest: str) -> str:
        """The version of the release whose manifest has this digest: how a served model knows its own version."""
        found = self._versions.with_digest(model_name(task, "release"), digest)
        if found is None:
            raise ArtifactError(
                f"{model_name(task, 'release')}: no version has the manifest {digest} at {without_secret(self.uri)}. "
                "Serve a registered release, with MLFLOW_TRACKING_URI naming the store it was registered in."
            )
        return found.version

    def _release_version(self, task: Task, which: str) -> str:
        if which.isdecimal():
            return which
        pointers = self.aliases(task)
        if which not in pointers:
            remedy = _NO_ALIAS.get(which, f"Name one of these, or a version number; {which!r} is neither.")
            have = ", ".join(f"{alias} (version {version})" for alias, version in sorted(pointers.items())) or "none"
            raise ArtifactError(
                f"{model_name(task, 'release')}: no release is {which!r} at {without_secret(self.uri)}; there are: "
                f"{have}. {remedy}"
            )
        return pointers[which]

    # Components.

    def fetch(self, task: Task, ref: ComponentRef) -> Path:
        """The folder with the component's files, not to be written to: the store's own where it is on this disk, else
        a copy below the cache. Raises ArtifactError unless it is what `ref` names; weights are checked when read."""
        name = model_name(task, ref.part)
        folder = self._versions.files(self._versions.facts(name, ref.version))
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(f"{name} version {ref.version}: {folder / MANIFEST} is missing. {REMEDY}")
        found = file_digest(folder / MANIFEST)
        if found != ref.digest:
            raise ArtifactError(
                f"{name} version {ref.version}: {folder / MANIFEST} has digest {found}, the release names "
                f"{ref.digest}; it was altered. {REMEDY}"
            )
        return folder

    def open_bank(self, task: Task, ref: ComponentRef, *, base_digest: str) -> HeadBank:
        """The heads version, lazily, with shards of earlier versions found where they are. Raises as HeadBank does."""
        from hydra_ml.io.head_bank import HeadBank  # torch with it, which most that ask the registry do not need

        name = model_name(task, ref.part)
        return HeadBank(
            self.fetch(task, ref),
            base_digest=base_digest,
            folder_of=lambda version: self._versions.files(self._versions.facts(name, version)),
        )


def _manifest_tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What of a component's manifest is worth seeing, and searching, in the registry."""
    named = {"n_users": "n_users", "base_digest": "base_digest", "digest": "weights_digest", "width": "width"}
    return {tag: str(manifest[key]) for key, tag in named.items() if key in manifest}


def _retried(move: Callable[..., Any], *arguments: str) -> None:
    """Do it, again after a short random pause where MLflow's database lost a race with another process."""
    from mlflow.exceptions import MlflowException

    for attempt in range(1, TRIES + 1):
        try:
            move(*arguments)
            return
        except MlflowException as error:
            if attempt == TRIES or not any(text in str(error) for text in LOST_RACE):
                raise
            time.sleep(random.uniform(0.05, 0.2) * attempt)
