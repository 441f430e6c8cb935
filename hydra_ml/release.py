"""A release: one version of each component pinned together with what it was made from; what is promoted and served.

Knows nothing of where versions are kept (`io.registry`) or how they answer (`scoring`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hydra_ml.errors import ArtifactError
from hydra_ml.records import content_digest
from hydra_ml.tasks.task import Task

SCHEMA_VERSION = 1
PARTS = ("reranker.base", "reranker.heads", "adapter.base", "adapter.heads")


def model_name(task: Task, part: str) -> str:
    """The registered model of a part of PARTS, or of "release": "lamp-2n.reranker.base"."""
    return f"{task.name.lower()}.{part}"


def data_version(raw: str, drops: Collection[str]) -> str:
    """The name of all data a release is made from: the digest of its files, then how many drops and which.

    raw: such a name, or the digest alone; drops: names of all drops in the task's history now.
    """
    files = raw.partition("+")[0]
    if not drops:
        return files
    return f"{files}+{len(drops)}-{content_digest(' '.join(sorted(drops)))[:8]}"


@dataclass(frozen=True)
class ComponentRef:
    """A registered version of one component."""

    part: str  # of PARTS
    version: str
    digest: str  # of its manifest.json, which names the digest of every weights file


@dataclass(frozen=True)
class Release:
    """The manifest of a release version."""

    task: str  # folder, "LaMP_2N"
    components: Mapping[str, ComponentRef]  # by part, all of PARTS
    data_version: str  # DVC's digest of data/raw/<task>, and which drops came after it: `data_version`
    history: tuple[str, ...]  # drops of data/history/<task> whose records the heads have learned
    params: Mapping[str, Any]  # the params.yaml it was made with, whole
    git_commit: str  # "" outside a repository
    made_by: str  # job: "nightly" or "update_heads"
    made_at: str  # ISO 8601, UTC
    validated: bool  # whether Great Expectations passed on the data it was made from
    served: str = ""  # what the LLM's server told of the model whose answers were learned; "" where it tells nothing
    definition: str = ""  # the task as it was then: `Task.definition`; "" of releases from before tasks had one

    @property
    def llm(self) -> str:
        """The model that it answers with."""
        return str(self.params.get("llm", {}).get("model", ""))

    def document(self) -> dict[str, Any]:
        """As JSON stores it."""
        components = {part: {"version": ref.version, "digest": ref.digest} for part, ref in self.components.items()}
        return {
            **asdict(self),
            "schema_version": SCHEMA_VERSION,
            "components": components,
            "history": list(self.history),
            "params": dict(self.params),
        }

    @classmethod
    def from_document(cls, document: Any, where: str) -> Release:
        """The release a document describes. Raises ArtifactError, naming `where`, unless it is whole."""
        try:
            if document["schema_version"] != SCHEMA_VERSION:
                raise ArtifactError(
                    f"{where}: release of schema {document['schema_version']!r}; this version reads {SCHEMA_VERSION}. "
                    "Run the nightly flow to make a new one."
                )
            components = {
                part: ComponentRef(part, str(document["components"][part]["version"]), _text(document, part))
                for part in PARTS
            }
            facts = {name: document[name] for name in _PLAIN}
            facts |= {name: str(document.get(name, "")) for name in ("served", "definition")}
            return cls(components=components, history=tuple(document["history"]), **facts)
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"{where}: not a release manifest, {error!r} is missing or not what it should be. Go back with "
                "`hydra-ml rollback`, or run the nightly flow to make a new release."
            ) from error


_PLAIN = ("task", "data_version", "params", "git_commit", "made_by", "made_at", "validated")


def _text(document: Any, part: str) -> str:
    return str(document["components"][part]["digest"])
