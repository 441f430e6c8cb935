"""Versions of registered models and the files behind them, as `io.registry` reads them from MLflow."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from hydra_ml.errors import ArtifactError, StoreError, without_secret
from hydra_ml.io.files import file_digest
from hydra_ml.io.mlflow.store import as_default, connect, speaking

MANIFEST = "manifest.json"
REMEDY = "Go back with `hydra-ml rollback`, restore the store's files from a backup, or run the nightly flow anew."


@dataclass(frozen=True)
class VersionFacts:
    """What the registry says of a version without its files being read."""

    name: str  # of the registered model
    version: str
    run_id: str  # of the MLflow run that registered it
    made_at: str  # ISO 8601, UTC
    tags: Mapping[str, str]
    source: str  # "models:/" and the logged model that holds the files


class ModelVersions:
    """The versions of one store, read only. Raises ArtifactError when the store cannot be reached."""

    def __init__(self, uri: str, cache: Path) -> None:
        """cache: for files of a store that is not on this machine's disk."""
        self.uri, self.cache = uri, cache
        self._client = connect(uri)

    def facts(self, name: str, version: str) -> VersionFacts:
        """One version of a model. Raises ArtifactError if there is none of that number."""
        from mlflow.exceptions import MlflowException

        with speaking(self.uri, f"find {name} version {version}"):
            try:
                return _facts(self._client.get_model_version(name, version))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        raise ArtifactError(
            f"{name}: there is no version {version} at {without_secret(self.uri)}. See `hydra-ml status` and "
            "`hydra-ml heads list`; the nightly flow makes a new release."
        )

    def search(self, query: str) -> list[VersionFacts]:
        """What MLflow's filter finds, newest first."""
        found: list[VersionFacts] = []
        token = None
        with speaking(self.uri, f"search versions with {query}"):
            while True:
                page = self._client.search_model_versions(query, page_token=token)
                found += map(_facts, page)
                token = page.token
                if not token:
                    return sorted(found, key=lambda facts: -int(facts.version))

    def with_digest(self, name: str, digest: str) -> VersionFacts | None:
        """The newest version registered with this digest; None where there is none."""
        return next(iter(self.search(f"name='{name}' and tags.digest='{digest}'")), None)

    def model_tags(self, name: str) -> dict[str, str]:
        """Tags of the registered model itself; {} where there is none."""
        from mlflow.exceptions import MlflowException

        with speaking(self.uri, f"read {name}"):
            try:
                return dict(self._client.get_registered_model(name).tags)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return {}

    def aliases(self, name: str) -> dict[str, str]:
        """Alias to version; {} for a model that is not there yet."""
        from mlflow.exceptions import MlflowException

        with speaking(self.uri, f"read the aliases of {name}"):
            try:
                found = self._client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return {alias: str(version) for alias, version in found.items()}

    def files(self, facts: VersionFacts) -> Path:
        """The folder of a version's files: the store's own where it is on this disk, else a copy below the cache.
        Raises ArtifactError if it is gone."""
        with speaking(self.uri, f"fetch {facts.name} version {facts.version}"):
            model_id = facts.source.removeprefix("models:/")
            place = urlparse(self._client.get_logged_model(model_id).artifact_location)
            if place.scheme not in ("", "file"):
                return self._downloaded(model_id, facts)
            folder = Path(unquote(place.path))
            if not folder.is_dir():
                raise ArtifactError(f"{facts.name} version {facts.version}: its files at {folder} are gone. {REMEDY}")
            return folder

    def own_files(self, facts: VersionFacts) -> Path:
        """The store's own folder of a version's files. Raises StoreError if it is not on this machine's disk,
        ArtifactError if it is gone."""
        folder = self.files(facts)
        if folder.is_relative_to(self.cache):
            raise StoreError(
                f"{facts.name} version {facts.version}: its files do not lie on this machine's disk, and forgetting "
                "rewrites them where they are. Run it where the store is a folder."
            )
        return folder

    def holds(self, facts: VersionFacts, folder: Path) -> bool:
        """Whether the version's files are still what `folder` holds, byte for byte."""
        try:
            stored = self.files(facts)
        except ArtifactError:
            return False
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        return not any(filecmp.cmpfiles(stored, folder, files, shallow=False)[1:])

    def _downloaded(self, model_id: str, facts: VersionFacts) -> Path:
        """The cached copy; a copy whose manifest was altered is fetched anew."""
        import mlflow.artifacts

        folder = self.cache / model_id
        manifest = folder / MANIFEST
        if manifest.is_file() and file_digest(manifest) != facts.tags.get("digest"):
            shutil.rmtree(folder)
        if not folder.is_dir():
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache) as scratch, as_default(self.uri):
                got = Path(scratch) / "got"
                mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(got))
                try:
                    os.rename(got, folder)
                except OSError:  # another process was quicker
                    if not folder.is_dir():
                        raise
        return folder


def _facts(version: Any) -> VersionFacts:
    made_at = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds")
    name, number, run_id = str(version.name), str(version.version), str(version.run_id)
    return VersionFacts(name, number, run_id, made_at, dict(version.tags), str(version.source))
