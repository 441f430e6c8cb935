"""A night's budget over processes that ask at once: none sees less than what all have spent and have in flight."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from hydra_ml.errors import ArtifactError
from hydra_ml.io.night_ledger import NightLedger
from hydra_ml.llm.budget import Usage
from tests.llm.scripted_server import ScriptedServer, completion

CALL = Usage(1, tokens_in=10, tokens_out=5)
# Asks 40 things of its own, many at once, and says how it ended.
SHARD = """
import sys
from pathlib import Path
from hydra_ml.errors import BudgetExceeded
from hydra_ml.io.llm import open_llm
from hydra_ml.llm.chat import Ask
from hydra_ml.params import LLM, Allowance
cache, name, limit, most = sys.argv[1:]
params = LLM(model="m", concurrency=8, night=Allowance(**{limit: int(most)}))
asks = [Ask(({"role": "user", "content": f"{name} {i:38}"},), max_tokens=8) for i in range(40)]
with open_llm(params, cache=Path(cache)) as llm:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        llm.ask_all(asks, label=name)
    except BudgetExceeded as error:
        print(error)
"""


def always(*_: Usage) -> bool:
    return True


def ledger(path: Path, night: str = "monday", hold_s: float = 60.0) -> NightLedger:
    return NightLedger(path / "responses.sqlite", night, hold_s=hold_s)


def test_what_a_night_spent_is_known_to_whoever_opens_its_books(tmp_path: Path) -> None:
    with ledger(tmp_path) as books:
        ticket = books.reserve(CALL, always)
        assert books.used() == (Usage(), CALL)
        books.settle(ticket, Usage(1, tokens_in=9, tokens_out=2))
        books.settle(None, Usage(1, tokens_in=7, tokens_out=1))
        books.settle(books.reserve(CALL, always), Usage())  # it failed
    with ledger(tmp_path) as books:
        assert books.used() == (Usage(2, tokens_in=16, tokens_out=3), Usage())
    with ledger(tmp_path, "tuesday") as books:
        assert books.used() == (Usage(), Usage())


def test_a_reservation_sees_those_of_others_and_is_none_where_it_does_not_fit(tmp_path: Path) -> None:
    with ledger(tmp_path) as one, ledger(tmp_path) as other:
        first = one.reserve(CALL, always)
        assert other.reserve(CALL, lambda spent, in_flight: in_flight.calls == 0) is None
        assert other.used()[1] == CALL
        one.settle(first, Usage())
        assert other.reserve(CALL, lambda spent, in_flight: in_flight.calls == 0) is not None


def test_what_is_held_too_long_counts_no_more(tmp_path: Path) -> None:
    with ledger(tmp_path, hold_s=0.05) as books:
        books.reserve(CALL, always)
        time.sleep(0.1)
        assert books.used() == (Usage(), Usage())


def test_reservations_of_a_killed_process_are_released_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from hydra_ml.io.night_ledger import NightLedger\n"
        "from hydra_ml.llm.budget import Usage\n"
        "NightLedger(Path(sys.argv[1]), 'monday', hold_s=600).reserve(Usage(1, tokens_in=10), lambda *_: True)\n"
        "print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "responses.sqlite")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with ledger(tmp_path) as books:
        assert books.used()[1] == Usage(1, tokens_in=10), "it lives"
        os.kill(holder.pid, signal.SIGKILL)
        while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert books.used()[1] == Usage(), "a zombie holds nothing"
        holder.wait()
        assert books.used()[1] == Usage()


def test_books_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "responses.sqlite").write_text("no database at all, and longer than a header of one" * 3)
    with pytest.raises(ArtifactError, match=r"books of the night's LLM budget cannot be used"):
        ledger(tmp_path)


@pytest.mark.parametrize(("limit", "most", "calls"), [("max_tokens", 600, (48, 50)), ("max_calls", 37, (37, 37))])
def test_four_shards_at_once_keep_to_one_budget(
    tmp_path: Path,
    start_server: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    most: int,
    calls: tuple[int, int],
) -> None:
    """Each reserves 11 + 8 tokens a request, which takes 12: the last one is sent while 19 are left."""

    async def slowly(number: int, body: dict[str, Any]) -> Response:
        await asyncio.sleep(0.05)
        return completion(body, body["n"])

    server = ScriptedServer(slowly)
    monkeypatch.setenv("OPENAI_BASE_URL", start_server(server.app).address)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("HYDRA_NIGHT", "monday")
    command = [sys.executable, "-c", SHARD, str(tmp_path / "responses.sqlite")]
    shards = [
        subprocess.Popen([*command, name, limit, str(most)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    for shard in shards:
        assert shard.stdout is not None
        assert shard.stdout.readline() == "ready\n"
    for shard in shards:
        assert shard.stdin is not None
        shard.stdin.write("go\n")
        shard.stdin.flush()
    told = [shard.communicate(timeout=120)[0] for shard in shards]
    assert all(f"of llm.night.{limit} = {most} are used" in one for one in told), told
    assert calls[0] <= len(server.bodies) <= calls[1]
    with ledger(tmp_path) as books:
        used = Usage(len(server.bodies), tokens_in=10 * len(server.bodies), tokens_out=2 * len(server.bodies))
        assert books.used() == (used, Usage())
