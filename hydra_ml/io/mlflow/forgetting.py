"""Users taken out of every registered version: banks in place, and what names their digests made to fit again.

A version keeps its number and its place. Between a bank and the tags that name it a kill leaves a version that nobody
opens, for digests are checked; the next call of the same puts it right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

from hydra_ml.errors import ArtifactError, StoreError
from hydra_ml.io.files import file_digest, load_json, save_json
from hydra_ml.io.head_bank import Shard, rewrite_bank
from hydra_ml.io.mlflow.model_versions import MANIFEST, VersionFacts
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.mlflow.release_package import RELEASE_FILE, description
from hydra_ml.io.mlflow.store import speaking
from hydra_ml.io.rewriting import heads_names
from hydra_ml.io.traces import Marks
from hydra_ml.model.heads import Heads
from hydra_ml.records import content_digest
from hydra_ml.release import PARTS, Release
from hydra_ml.tasks.task import Task

HEADS = tuple(part for part in PARTS if part.endswith(".heads"))
MODELS = "models"  # folder of an experiment's files in which MLflow keeps those of models
FORGOTTEN = "forgotten"  # tag of a version that somebody was taken out of: when, ISO 8601


@dataclass
class Rewritten:
    """What was done in the registry."""

    heads: dict[str, list[str]] = field(default_factory=dict)  # part -> versions that had a head
    releases: list[str] = field(default_factory=list)  # versions whose manifest names new digests
    before: dict[str, str] = field(default_factory=dict)  # "part version" -> digest of its manifest
    after: dict[str, str] = field(default_factory=dict)


class ReleasesRewriter:
    """The versions of one task."""

    def __init__(self, registry: Registry, task: Task) -> None:
        self.registry, self.task = registry, task
        self._client = registry.tracking.client

    def digest(self) -> str:
        """Over the manifests that releases and heads have now."""
        facts = [one for part in (*HEADS, "release") for one in self.registry.versions(self.task, part)]
        return content_digest(" ".join(sorted(f"{one.name} {one.version} {one.tags.get('digest')}" for one in facts)))

    def versions_with(self, marks: Marks) -> dict[str, list[str]]:
        """The heads versions, by part, whose own shards hold the user."""
        found: dict[str, list[str]] = {}
        for part in HEADS:
            for facts in reversed(self.registry.versions(self.task, part)):
                shards = sorted(self.registry.files_of(facts).glob("heads-*.safetensors"))
                names = {name for shard in shards for name in heads_names(shard.read_bytes()) or ()}
                if any(marks.has("user", name) for name in names):
                    found.setdefault(part, []).append(facts.version)
        return found

    def take_out(
        self,
        user_ids: Collection[str],
        *,
        at: str,
        drops: Mapping[str, str] = {},
        given: Mapping[tuple[str, str], Heads] = {},
        resuming: bool = False,
    ) -> Rewritten:
        """Take the users out of all heads versions, and make releases name what these are then.

        at: when, ISO 8601. drops: new names of rewritten drops, "" for those that are gone. given: heads put in
        instead, by part and version. resuming: a call before this one may have been killed. A version whose manifest
        was not what its tag says loses the users too, but stays refused.
        """
        done = Rewritten()
        for part in HEADS:
            now: dict[tuple[str, str], Shard] = {}
            for facts in reversed(self.registry.versions(self.task, part)):  # shards are held by earlier versions
                folder = self.registry.files_of(facts)
                before = file_digest(folder / MANIFEST)
                sound = resuming or before == facts.tags.get("digest")
                heads = given.get((part, facts.version))
                for shard in rewrite_bank(folder, user_ids, given=heads, shared=now):
                    now[facts.version, shard.file] = shard
                after = file_digest(folder / MANIFEST)
                if after != facts.tags.get("digest") and sound:
                    done.heads.setdefault(part, []).append(facts.version)
                    done.before[f"{part} {facts.version}"] = str(facts.tags.get("digest"))
                    done.after[f"{part} {facts.version}"] = after
                    n_users = str(load_json(folder / MANIFEST)["n_users"])
                    self._tag(facts, {"digest": after, "n_users": n_users, FORGOTTEN: at})
        self._follow(done, at, drops, resuming)
        return done

    def _follow(self, done: Rewritten, at: str, drops: Mapping[str, str], resuming: bool) -> None:
        """Have every release name the digests that its heads have now, and drops by their new names."""
        digests = {
            (part, facts.version): facts.tags.get("digest", "")
            for part in HEADS
            for facts in self.registry.versions(self.task, part)
        }
        for facts in self.registry.versions(self.task, "release"):
            path = self.registry.files_of(facts) / RELEASE_FILE
            if not path.is_file() or not (resuming or file_digest(path) == facts.tags.get("digest")):
                continue  # damaged before: refused as ever
            document = load_json(path)
            Release.from_document(document, str(path))
            for part in HEADS:
                component = document["components"][part]
                component["digest"] = digests.get((part, str(component["version"])), component["digest"])
            document["history"] = sorted({drops.get(name, name) for name in document["history"]} - {""})
            if document != load_json(path):
                save_json(document, path)
            if (digest := file_digest(path)) != facts.tags.get("digest"):
                done.releases.append(facts.version)
                done.before[f"release {facts.version}"] = str(facts.tags.get("digest"))
                done.after[f"release {facts.version}"] = digest
                self._tag(facts, {"digest": digest, FORGOTTEN: at})
                told = description(self.task, Release.from_document(document, str(path)))
                with speaking(self.registry.uri, f"describe {facts.name}"):
                    self._client.update_model_version(facts.name, facts.version, told)

    def _tag(self, facts: VersionFacts, tags: Mapping[str, str]) -> None:
        with speaking(self.registry.uri, f"tag {facts.name} version {facts.version}"):
            self._client.set_logged_model_tags(facts.source.removeprefix("models:/"), dict(tags))
            for name, value in tags.items():  # the digest first: by it a version is opened
                self._client.set_model_version_tag(facts.name, facts.version, name, value)


def run_files(registry: Registry, task: Task) -> Iterator[Path]:
    """Every file that the task's runs have logged, deleted runs too. Raises StoreError if they lie elsewhere."""
    home = _files_home(registry, task)
    for path in sorted(home.rglob("*")) if home else ():
        if path.is_file() and path.relative_to(home or path).parts[0] != MODELS:  # those are rewritten as banks
            yield path


def unnamed_banks(registry: Registry, task: Task) -> list[Path]:
    """Folders of heads that no version names: what a registration that was killed left, or a version that was deleted.
    Raises as `run_files`."""
    home = _files_home(registry, task)
    versions = (facts for part in HEADS for facts in registry.versions(task, part))
    named = {registry.files_of(facts).resolve() for facts in versions}
    folders = {path.parent.resolve() for path in (home / MODELS).rglob("heads-*.safetensors")} if home else set()
    return sorted(folders - named)


def without_user(folder: Path, user_id: str) -> None:
    """Take the user out of a bank that no version names; shards without a manifest, half a bank, go whole."""
    if (folder / MANIFEST).is_file():
        rewrite_bank(folder, [user_id])
        return
    for shard in folder.glob("heads-*.safetensors"):
        shard.unlink()


def _files_home(registry: Registry, task: Task) -> Path | None:
    """Where the task's runs and models keep their files; None before there is an experiment. Raises StoreError if that
    is not on this machine's disk."""
    with speaking(registry.uri, "read the experiment"):
        experiment = registry.tracking.client.get_experiment_by_name(task.name.lower())
    if experiment is None:
        return None
    place = urlparse(experiment.artifact_location)
    if place.scheme not in ("", "file"):
        raise StoreError(
            f"{experiment.artifact_location}: the runs' files do not lie on this machine's disk, and forgetting "
            "rewrites them where they are. Run it where the store is a folder."
        )
    return Path(unquote(place.path))


def check_reachable(registry: Registry, task: Task) -> None:
    """Raises StoreError or ArtifactError, before anything is changed, if some version's files cannot be rewritten."""
    for part in (*HEADS, "release"):
        for facts in registry.versions(task, part):
            folder = registry.files_of(facts)
            if part in HEADS and not (folder / MANIFEST).is_file():
                raise ArtifactError(f"{facts.name} version {facts.version}: {folder / MANIFEST} is missing.")
    for _ in run_files(registry, task):
        break
