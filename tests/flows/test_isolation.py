"""Planted words of every user, and planted secrets, followed through all flows and everything they leave behind."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from starlette.responses import JSONResponse

from hydra_ml.tasks import get_task
from tests.conftest import bag_of_words, build_chain
from tests.flows.conftest import Running, make_project, running
from tests.jobs.other_llm import served_as_my_model
from tests.servers import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
KEY = "sk-planted-7f3a9c"  # the LLM's
MODEL = "my-model"
PLANTED = re.compile(r"zq[0-9a-f]{10}vx", re.I)


def word_of(user: str) -> str:
    """A word that nobody but this user ever writes."""
    return f"zq{hashlib.blake2b(user.encode(), digest_size=5).hexdigest()}vx"


def words_in(text: str) -> set[str]:
    return {found.lower() for found in PLANTED.findall(text)}


@dataclass
class World:
    """A stack whose flows have all run on planted data."""

    product: Running
    users: dict[str, str]  # word -> user
    prompts: list[list[dict[str, str]]] = field(default_factory=list)  # chats that the LLM was sent
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.product.root

    def files(self, *folders: str) -> list[Path]:
        """Every file below these folders of the project."""
        return [path for name in folders for path in (self.root / name).rglob("*") if path.is_file()]


def plant(raw: Path) -> dict[str, str]:
    """Put each user's word into every text of theirs, questions, records and answers; the users by word."""
    users: dict[str, str] = {}
    for path in sorted(raw.rglob("*_questions.json")):
        entries = json.loads(path.read_text())
        golds_path = path.with_name(path.name.replace("questions", "outputs"))
        golds = json.loads(golds_path.read_text())
        owners = {}
        for entry in entries:
            word = word_of(entry["user_id"])
            users[word] = owners[entry["id"]] = entry["user_id"]
            entry["input"] += f" {word}"
            for item in entry["profile"]:
                item.update({name: f"{item[name]} {word}" for name in ("text", "title")})
        for gold in golds["golds"]:
            gold["output"] += f" {word_of(owners[gold['id']])}"
        path.write_text(json.dumps(entries))
        golds_path.write_text(json.dumps(golds))
    return users


def recorded(app: Any, seen: list[list[dict[str, str]]], keys: set[str]) -> Any:
    """The application, with every chat that it is sent kept."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        parts: list[bytes] = []

        async def read() -> Any:
            message = await receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body") and parts and b"messages" in b"".join(parts):
                seen.append(json.loads(b"".join(parts))["messages"])
            return message

        if scope["type"] == "http":
            keys.update(value.decode() for name, value in scope["headers"] if name == b"authorization")
            if scope["path"].endswith("/models"):
                listed = JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
                await listed(scope, receive, send)
                return
        await app(scope, read if scope["type"] == "http" else receive, send)

    return outer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One night, a drop with a bad row, requests with a bad one, feedback, the heads updated; all of it planted."""
    chain = build_chain(tmp_path_factory.mktemp("planted"), "LaMP_4", n_users=4, seed=5)
    document = YAML(typ="safe").load((chain.root / "params.yaml").read_text())
    document["llm"]["model"] = MODEL
    document["prepare"].update(train_users=12, evaluate_users=12)
    document["annotate"]["queries_per_user"] = document["generate"]["queries_per_user"] = 3
    document["ingest"].update(settle_s=0.0, max_bad_share=0.5)
    document["arena"]["examples"] = 4
    with (chain.root / "params.yaml").open("w") as file:
        YAML().dump(document, file)
    (chain.root / ".cache").mkdir()
    users = plant(chain.root / "raw")
    prompts: list[list[dict[str, str]]] = []
    keys: set[str] = set()
    server = RunningServer(recorded(served_as_my_model(bag_of_words), prompts, keys))
    root = make_project(tmp_path_factory.mktemp("isolation"), chain)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"OPENAI_BASE_URL": server.address, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": MODEL}.items():
            patch.setenv(name, value)
        with running(root) as product:
            made = World(product, users, prompts)
            use(made)
            assert keys == {f"Bearer {KEY}"}, "the key went where it belongs"
            yield made
    server.close()


def use(world: World) -> None:
    """All flows, one after another."""
    product, task = world.product, get_task("LaMP_4")

    def run(deployment: str, name: str) -> None:
        world.runs[name] = ran = product.finish(product.start(deployment), within=600)
        assert ran["state_type"] == "COMPLETED", ran["state"]["message"]

    run("nightly/nightly", "nightly")
    known, stranger = sorted(world.users.values())[0], "stranger"
    world.users[word_of(stranger)] = stranger

    def record(user: str, number: int, **change: Any) -> dict[str, Any]:
        said = f"A letter of {number} {word_of(user)}"
        day = f"2026-01-{number:02d}"
        return {"task": "LaMP_4", "user_id": user, "date": day, "text": said, "title": said} | change

    rows = [record(user, number) for user in (known, stranger) for number in range(1, 7)]
    rows.append(record(known, 9, date=f"no day {word_of(known)}"))
    write(world.root / "data/incoming/drop.jsonl", rows)
    run("ingest/ingest", "ingest")
    run("update_heads/update-heads", "update")
    asked = [
        {"request_id": f"r{i}", "user_id": user, "task": "LaMP-4", "input": task.templated(f"News of {word_of(user)}")}
        for i, user in enumerate(sorted(world.users.values()))
    ]
    write(world.root / "data/requests/today.jsonl", [*asked, {**asked[0], "request_id": "bad", "input": ""}])
    run("batch_score/batch-score", "score")
    said = {"request_id": "r0", "edited": f"A better title {word_of(asked[0]['user_id'])}"}
    write(world.root / "data/feedback/said.jsonl", [said, {**said, "request_id": "r1", "edited": 5}])
    run("ingest/ingest", "feedback")
    run("promote/promote", "promote")
    for verb in (["why", "r0"], ["status"], ["releases", "list"]):
        assert product.command("hydra_ml", *verb).returncode == 0


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def text_of(path: Path) -> str:
    """All that a file says, packed columns unpacked."""
    head = path.read_bytes()
    if head.startswith(b"PAR1"):
        return pd.read_parquet(path).to_json(default_handler=str)
    return head.decode("utf-8", "ignore")


def test_every_request_was_answered(world):
    assert len(pd.read_parquet(next((world.root / "data/predictions/LaMP_4").glob("*.parquet")))) == len(world.users)


def test_no_prompt_shows_two_users(world):
    spoken = [words_in(json.dumps(chat)) for chat in world.prompts]
    assert len(spoken) > 50
    assert set().union(*spoken) == set(world.users), "every user was asked for"
    assert [found for found in spoken if len(found) > 1] == []


def test_no_row_on_disk_holds_two_users(world):
    seen: set[str] = set()
    for path in world.files("data", ".cache", ".dvc/cache", ".mlflow"):
        if not path.read_bytes().startswith(b"PAR1"):
            continue
        for row in pd.read_parquet(path).to_dict("records"):
            found = words_in(json.dumps(row, default=str))
            seen |= found
            assert len(found) <= 1, path
            if found and "user_id" in row:
                assert world.users[found.pop()] == row["user_id"], path
    assert seen == set(world.users)


def test_lines_of_what_went_out_and_was_set_aside_hold_one_user(world):
    folders = ("data/predictions", "data/quarantine", "data/requests", "data/feedback", "data/incoming")
    lines = [
        line
        for path in world.files(*folders)
        if path.suffix in (".json", ".jsonl")
        for line in path.read_text().splitlines()
    ]
    assert any(words_in(line) for line in lines)
    assert [line for line in lines if len(words_in(line)) > 1] == []


def test_the_response_cache_keeps_each_ones_answers_apart(world):
    with sqlite3.connect(world.root / ".cache/responses.sqlite") as cache:
        tables = [name for (name,) in cache.execute("select name from sqlite_master where type = 'table'")]
        rows = [row for table in tables for row in cache.execute(f"select * from {table}")]
    found = [
        words_in(" ".join(cell.decode("utf-8", "ignore") if isinstance(cell, bytes) else str(cell) for cell in row))
        for row in rows
    ]
    assert len(found) > 50
    assert max(map(len, found)) <= 1


def test_no_word_of_anybody_is_in_prefect_mlflow_logs_docs_or_reports(world):
    files = world.files(".prefect", ".mlflow", ".logs", "data/docs", "data/reports")
    assert any(path.name == "prefect.db" for path in files)
    assert any(path.name == "mlflow.db" for path in files)
    assert any(path.suffix == ".html" for path in files)
    assert len(files) > 100
    assert {str(path): words for path in files if (words := words_in(text_of(path)))} == {}


def test_heads_features_and_weights_hold_no_word(world):
    files = [
        path
        for path in world.files(".cache", "data/train_adapter", "data/train_reranker")
        if path.suffix in (".safetensors", ".sqlite") and path.name != "responses.sqlite"
    ]
    assert len(files) > 3
    assert {str(path): words for path in files if (words := words_in(text_of(path)))} == {}


def test_the_page_without_words_has_none(world):
    (figures,) = (world.root / "data/arena/LaMP_4").glob("figures.html")
    assert words_in(figures.read_text()) == set()


def test_no_secret_is_written_anywhere(world):
    auth = world.product.stack.auth
    secrets = {KEY.encode(), auth.encode(), auth.partition(":")[2].encode()}
    found = {
        str(path.relative_to(world.root))
        for path in world.root.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets)
    }
    assert found == {".prefect/stack.json"}
