"""The champion's parts with another LLM: a release to promote, the call that judges it, and the offline model served
under another name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hydra_ml.jobs.promote import promote
from hydra_ml.model.interfaces import Encode
from hydra_ml.offline.app import build_offline_app


def served_as_my_model(encode: Encode) -> Callable[..., Any]:
    """The offline model's application, known as my-model; it encodes for one request at a time."""
    lock = threading.Lock()

    def one_at_a_time(texts: Any) -> Any:
        with lock:
            return encode(texts)

    app = build_offline_app(one_at_a_time)

    async def renamed(scope: Any, receive: Any, send: Any) -> None:
        async def read() -> Any:
            message = await receive()
            return {**message, "body": message.get("body", b"").replace(b"my-model", b"offline-minilm")}

        await app(scope, read if scope["type"] == "http" else receive, send)

    return renamed


def add_release(project, model: str = "my-model", served: str = "", **sections: Any) -> str:
    """The champion's parts in a release that answers with this model and these settings; it becomes the challenger.

    served: what the server told of the model when the release learned."""
    registry, task = project.registry, project.task
    _, release = registry.release(task, "champion")
    params = json.loads(json.dumps(dict(release.params)))
    params["llm"] |= {"model": model, "max_attempts": 1}
    for name, values in sections.items():
        params[name] |= values
    run_id = registry.version(task, "release", project.champion).run_id
    version = registry.register_release(task, replace(release, params=params, served=served), run_id=run_id)
    registry.point(task, {"challenger": version})
    return version


def go(project, **options):
    params = project.params.model_copy(update={"llm": project.params.llm.model_copy(update={"max_attempts": 1})})
    return promote(project.task, params, data=project.data, registry=project.registry, cache=project.cache, **options)
