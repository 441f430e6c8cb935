"""Spoiled versions of small good files, and what readers make of them: a value, an error of ours, or a defect.

Seeded: the same seed spoils alike. Bytes are flipped, cut and doubled; JSON and Parquet are also spoiled by shape, so
that what is still well-formed but not what was expected gets past the parser.
"""

from __future__ import annotations

import copy
import io
import json
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.errors import HydraError

HANGS_AFTER_S = 10.0
WORDS = rb'null true -1 1e999 NaN "" {} [] \ud800 \u0000 ../../x [ { ] } " : ,'.split()
BYTES = b"\0 \xff \xe2\x80\xa8 \xc2\x85 \xef\xbb\xbf".split(b" ")
DEEP = [b"[" * 90_000, b'{"a":' * 90_000, b"9" * 6000, b"\n", b" ", b"[" * 200 + b"]" * 200]
TOKENS = [*WORDS, *BYTES, *DEEP]
YAML_WORDS = (
    b"&a *a <<: ? | > - !!int !!float !!bool !!timestamp !!binary !!set !!omap !!pairs !!python/object:os.system %YAML "
    b"--- ... 0b 0x 0o7 1:2:3 2020-99-99 .nan .inf ~"
)
YAML_TOKENS = [
    *YAML_WORDS.split(),
    b"\na: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 107)),
    b"\n" + b"- " * 20_000,
    b"\nq: &q [*q]\n",
    b"\nseed: *q\n",
    b"{" * 400 + b"}" * 400,
]
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 10**30, 1e308, float("nan"), float("inf"), "", " ", "x", "\ud800", "a\u2028b\x85c", "\0",
    "../../x", "x" * 5000, [], {}, [[]], [None], {"": None}, ["x"], [{}], 0.5, "1e9999", "9" * 5000,
)  # fmt: skip


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def spoiled_bytes(content: bytes, rng: random.Random, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """One to four small damages."""
    spoiled = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, length = rng.randrange(len(spoiled) + 1), rng.choice((1, 4, 32, 1000))
        match rng.randrange(6):
            case 0 if at < len(spoiled):
                spoiled[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(spoiled):
                spoiled[at] = rng.choice((0, 1, 127, 128, 255))
            case 2:
                del spoiled[at : at + length]
            case 3:
                spoiled[at:at] = spoiled[at : at + length]
            case 4:
                spoiled[at : at + rng.choice((0, 0, length))] = rng.choice(tokens)
            case _:
                del spoiled[at:]
    return bytes(spoiled)


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One to three bits turned over."""
    spoiled = bytearray(content)
    for _ in range(rng.choice((1, 1, 3))):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def spoiled_json(content: bytes, rng: random.Random) -> bytes:
    """The document with values put in others' places, keys lost or renamed, or lists repeated."""
    root = [json.loads(content)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder: Any = root
        place: Any = 0
        while isinstance(found := holder[place], dict | list) and found and rng.random() < 0.85:
            holder, place = found, rng.choice(list(found) if isinstance(found, dict) else range(len(found)))
        match rng.randrange(5):
            case 0 if isinstance(holder, dict):
                del holder[place]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "id", "\ud800"))] = holder.pop(place)
            case 2 if isinstance(holder, list) and holder is not root:
                holder.append(copy.deepcopy(holder[place]))
            case 3:
                holder[place] = _nested(rng.choice((3, 70, 300)))
            case _:
                holder[place] = copy.deepcopy(rng.choice(ODD))
    return json.dumps(root[0]).encode()


def spoiled_lines(content: bytes, rng: random.Random) -> bytes:
    """JSON lines, one of them spoiled by shape."""
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = spoiled_json(lines[at], rng)
    return b"\n".join(lines) + b"\n"


def _odd_columns(n: int) -> list[pa.Array]:
    far = pa.array([9_000_000_000_000_000_000] * n, pa.int64())
    broken = pa.Array.from_buffers(pa.binary(), n, pa.array([b"\xff\xfe"] * n, pa.binary()).buffers())
    return [
        far.cast(pa.timestamp("us")),
        pa.array([0] * n, pa.int64()).cast(pa.timestamp("us", tz="Mars/Crater")),
        broken.view(pa.string()),
        pa.array([["a", None]] * n),
        pa.array([{"a": 1}] * n),
        pa.array([None] * n, pa.string()),
        pa.nulls(n),
        pa.array(["x"] * n).dictionary_encode(),
        far,
        pa.array([float("nan")] * n),
        pa.array([b"\0"] * n),
        pa.array([10**30] * n, pa.decimal128(38, 2)),
        pa.array([True] * n),
        pa.array([2**31 - 1] * n, pa.int32()).cast(pa.date32()),
        pa.array([2**62] * n, pa.int64()).cast(pa.duration("s")),
        pa.array(["same"] * n),
        pa.array([""] * n),
    ]


def spoiled_table(content: bytes, rng: random.Random) -> bytes:
    """A Parquet table with a column of another kind, renamed, doubled or lost."""
    table = pq.read_table(io.BytesIO(content))
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(table.num_columns)
        match rng.randrange(6):
            case 0 if table.num_columns > 1:
                table = table.remove_column(at)
            case 1:
                names = [
                    rng.choice(("", "x", "user_id")) if i == at else name for i, name in enumerate(table.column_names)
                ]
                table = table.rename_columns(names)
            case 2:
                table = table.append_column(table.column_names[at], table.column(at))
            case 3:
                table = table.slice(0, 0)
            case _:
                table = table.set_column(at, table.column_names[at], rng.choice(_odd_columns(len(table))))
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


Spoil = Callable[[bytes, random.Random], bytes]


def of_kind(name: str) -> Sequence[Spoil]:
    """How a file of this name is spoiled."""
    by_shape: dict[str, Spoil] = {".json": spoiled_json, ".jsonl": spoiled_lines, ".parquet": spoiled_table}
    if name.endswith(".yaml"):
        return (lambda content, rng: spoiled_bytes(content, rng, [*TOKENS, *YAML_TOKENS]),)
    shape = by_shape.get(Path(name).suffix)
    return (spoiled_bytes, flipped, *([shape] * 2 if shape else []))


@dataclass
class Reading:
    """What is spoiled, and what is then read."""

    read: Callable[[], object]
    targets: Sequence[Path]
    after: Callable[[random.Random], object] = lambda rng: None  # once a file is spoiled: a digest made to fit
    restore: Callable[[], object] = lambda: None  # puts back what `read` changes; the targets are put back anyway


def misbehaviours(reading: Reading, n: int, *, seed: int = 0) -> Counter[str]:
    """Reads n spoiled versions of the targets, one at a time; every end but a value and an error of ours, counted."""
    good = {path: path.read_bytes() for path in reading.targets}
    found: Counter[str] = Counter()
    previous = signal.signal(signal.SIGALRM, _hang)
    try:
        for number in range(n):
            rng = random.Random(f"{seed}-{number}")
            path = rng.choice(reading.targets)
            path.write_bytes(rng.choice(of_kind(path.name))(good[path], rng))
            reading.after(rng)
            if told := _misbehaviour(reading.read):
                found[told] += 1
            for each, content in good.items():
                each.write_bytes(content)
            reading.restore()
    finally:
        signal.signal(signal.SIGALRM, previous)
    return found


def _misbehaviour(read: Callable[[], object]) -> str:
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER_S)
    try:
        read()
    except HydraError:
        return ""
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = next((frame for frame in reversed(frames) if "hydra_ml" in frame.filename), frames[-1])
        return f"{type(error).__name__} at {Path(ours.filename).name}:{ours.lineno}: {str(error)[:80]!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


class Hang(Exception):
    """A reader did not come to an end."""


def _hang(*_: object) -> None:
    raise Hang(f"no end after {HANGS_AFTER_S:.0f} s")
