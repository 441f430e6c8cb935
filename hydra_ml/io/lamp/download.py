"""Official LaMP files over HTTP.

Downloads resume where they broke off. Nothing half-written is ever under its final name. Texts are checked by
`io.lamp.add`; who may be trained on is not decided here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import httpx2
from tqdm import tqdm

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.lamp.checks import looks_like_html
from hydra_ml.io.lamp.files import split_files
from hydra_ml.io.lamp.folders import SPLITS
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

OFFICIAL_BASE = "https://ciir.cs.umass.edu/downloads/LaMP"
ATTEMPTS = 5  # in a row without a new byte, before a download is given up


class _AbsentError(Exception):
    """The server does not have the file; its text says how that showed."""


def fetch(
    tasks: Sequence[str],
    destination: Path,
    *,
    time_based: bool,
    base_url: str = OFFICIAL_BASE,
    splits: Sequence[str] = SPLITS,
    pause_s: float = 2.0,
) -> list[Path]:
    """Paths of the official files, now below `destination/LaMP_n/<split>/`, in the order asked for.

    Files already there are kept; broken downloads resume, with growing pauses from `pause_s`. Test outputs are
    usually withheld and then left out. Raises ParamsError for an unknown task or split, or LaMP-6 (licensed), before
    anything is asked of the server; DataError if a file cannot be had.
    """
    chosen = [get_task(name) for name in tasks]
    _refuse_unavailable(chosen, splits)
    fetched: list[Path] = []
    with httpx2.Client(timeout=60.0, follow_redirects=True) as client:
        for task in chosen:
            for split in splits:
                for kind, target in split_files(destination / task.folder, split).items():
                    url = f"{base_url.rstrip('/')}/{_remote_folder(task, time_based)}/{split}/{split}_{kind}.json"
                    try:
                        if not target.exists():
                            _download(client, url, target, f"{task.name} {split} {kind}", pause_s)
                        fetched.append(target)
                    except _AbsentError as absent:
                        if (split, kind) == ("test", "outputs"):
                            continue
                        raise DataError(
                            f"{url}: {absent}. Check the address and the spelling of base_url (official: "
                            f"{OFFICIAL_BASE}), or download by hand and use `hydra-ml data add`."
                        ) from None
    return fetched


def _refuse_unavailable(tasks: Sequence[Task], splits: Sequence[str]) -> None:
    """Raise ParamsError for what no server could give."""
    if any(task.folder == "LaMP_6" for task in tasks):
        raise ParamsError(
            "LaMP-6 cannot be fetched: its emails are the Avocado collection (LDC2015T03), licensed by the Linguistic "
            "Data Consortium; LaMP's files hold only file names. Get the collection, fill the files with LaMP's own "
            "script, then `hydra-ml data add` the folder."
        )
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ParamsError(f"unknown split(s) {', '.join(map(repr, unknown))}; allowed are {', '.join(SPLITS)}.")


def _remote_folder(task: Task, time_based: bool) -> str:
    """The task's folder on LaMP's server: plain LaMP_2 is news there, movies came later as LaMP_2/new."""
    folder = {"LaMP_2": "LaMP_2/new", "LaMP_2N": "LaMP_2"}.get(task.folder, task.folder)
    return f"time/{folder}" if time_based else folder


def _download(client: httpx2.Client, url: str, target: Path, label: str, pause_s: float) -> None:
    """Bring one file to `target`, through `<target>.partial`, which outlives an interruption."""
    partial = target.with_name(f"{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = _size(partial)
        try:
            _receive(client, url, partial, label)
            break
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            failures = 1 if _size(partial) > before else failures + 1
            if failures >= ATTEMPTS or _is_final(error):
                reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                raise DataError(
                    f"{url}: download failed, {failures} time(s) in a row ({reason}). What came so far is kept: check "
                    "the network and run the same command again."
                ) from error
            time.sleep(pause_s * 2 ** (failures - 1))
    try:
        json.loads(partial.read_bytes())
    except (ValueError, RecursionError) as error:
        size = _size(partial)
        partial.unlink()
        raise DataError(
            f"{url}: what came is not JSON ({error}; {size:,} bytes) and was deleted. Run the same command again."
        ) from None
    os.replace(partial, target)


def _is_final(error: Exception) -> bool:
    """Whether asking again cannot help: a bad address, or a refusal that is not about load or range."""
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.is_client_error and error.response.status_code not in (408, 416, 429)
    return isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol)


def _receive(client: httpx2.Client, url: str, partial: Path, label: str) -> None:
    """Append to `partial` what it lacks. Raises _AbsentError, or httpx2.HTTPError if the rest did not come."""
    have = _size(partial)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx2.codes.NOT_FOUND:
            raise _AbsentError("the server has no such file (404)")
        if response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # all of it came before the last interruption
            partial.unlink()  # longer than the server's file: another version; the next attempt starts over
        response.raise_for_status()
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file, whatever was asked
        total = have + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        chunks = response.iter_bytes()  # as they come: a fixed chunk size would lose the last bytes before a break
        first = next(chunks, b"")
        if have == 0 and looks_like_html(first):
            raise _AbsentError("the server answered with an HTML page instead of JSON")
        with (
            partial.open("ab" if have else "wb") as file,
            tqdm(total=total, initial=have, desc=label, unit="B", unit_scale=True, unit_divisor=1024) as bar,
        ):
            for chunk in chain((first,), chunks):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(partial) != total:
        raise httpx2.ReadError(f"{_size(partial):,} of {total:,} bytes came")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
