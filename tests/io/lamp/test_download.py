"""Fetching from a real server on this machine, and adding folders of files."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.lamp.add import add
from hydra_ml.io.lamp.download import fetch
from hydra_ml.io.lamp.files import Question, outputs_path, questions_path, read_split, write_split
from hydra_ml.tasks import TASKS

REAL = Path(__file__).parents[3].parent / "shared" / "data"
HTML = b"<!DOCTYPE html>\n<html><body>The page you asked for does not exist.</body></html>"


class LampServer(ThreadingHTTPServer):
    """Serves `files` by path, with byte ranges; any other path gets an HTML page with status 200, as LaMP's does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut_after: dict[str, int] = {}  # path -> bytes sent before the connection breaks
        self.ranges = True
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []  # path and Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/LaMP"


class Handler(BaseHTTPRequestHandler):
    server: LampServer

    def do_GET(self) -> None:
        asked_range = self.headers.get("Range")
        self.server.asked.append((self.path, asked_range))
        content = self.server.files.get(self.path)
        if self.server.status != 200:
            self.answer(self.server.status, b"", {})
        elif content is None:
            self.answer(200, HTML, {"Content-Type": "text/html"})
        elif asked_range and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked_range)[1])  # type: ignore[index]
            if start >= len(content):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            else:
                self.answer(206, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})
        else:
            self.answer(200, content, {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.server.cut_after.get(self.path)
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[LampServer]:
    with LampServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def document(name: str, n: int = 1) -> bytes:
    return json.dumps([{"id": str(number), "input": name, "profile": []} for number in range(n)]).encode()


def offer(server: LampServer, remote: str, splits: tuple[str, ...] = ("train", "dev", "test")) -> None:
    """Questions and outputs for each split below `remote`, each file's content naming its address."""
    for split in splits:
        for kind in ("questions", "outputs"):
            path = f"/LaMP/{remote}/{split}/{split}_{kind}.json"
            server.files[path] = document(path)


@pytest.mark.parametrize(
    ("task", "time_based", "remote", "local"),
    [
        ("LaMP-3", False, "LaMP_3", "LaMP_3"),
        ("LaMP_3", True, "time/LaMP_3", "LaMP_3"),
        ("LaMP-2", False, "LaMP_2/new", "LaMP_2"),
        ("LaMP-2N", False, "LaMP_2", "LaMP_2N"),
        ("LaMP-2", True, "time/LaMP_2/new", "LaMP_2"),
        ("LaMP-2N", True, "time/LaMP_2", "LaMP_2N"),
    ],
)
def test_files_come_from_their_official_place_to_their_own_folder(
    server: LampServer, tmp_path: Path, task: str, time_based: bool, remote: str, local: str
) -> None:
    offer(server, remote)
    paths = fetch([task], tmp_path, time_based=time_based, base_url=server.url)
    assert len(paths) == 6
    questions = questions_path(tmp_path / local, "dev")
    assert questions in paths
    assert questions.read_bytes() == server.files[f"/LaMP/{remote}/dev/dev_questions.json"]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)


def test_withheld_test_outputs_are_left_out(server: LampServer, tmp_path: Path) -> None:
    offer(server, "LaMP_4")
    del server.files["/LaMP/LaMP_4/test/test_outputs.json"]
    paths = fetch(["LaMP-4"], tmp_path, time_based=False, base_url=server.url)
    assert len(paths) == 5
    assert not outputs_path(tmp_path / "LaMP_4", "test").exists()
    assert questions_path(tmp_path / "LaMP_4", "test").exists()


@pytest.mark.parametrize(("status", "told"), [(200, "answered with an HTML page"), (404, "no such file (404)")])
def test_a_wrong_address_is_told_and_nothing_is_kept(
    server: LampServer, tmp_path: Path, status: int, told: str
) -> None:
    server.status = status
    with pytest.raises(DataError) as error:
        fetch(["LaMP-3"], tmp_path, time_based=False, base_url=server.url)
    assert f"{server.url}/LaMP_3/train/train_questions.json" in str(error.value)
    assert told in str(error.value)
    assert "hydra-ml data add" in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_cut_off_download_resumes_where_it_broke(server: LampServer, tmp_path: Path) -> None:
    offer(server, "LaMP_5", splits=("dev",))
    path = "/LaMP/LaMP_5/dev/dev_questions.json"
    server.files[path] = document("long", 20_000)
    size = len(server.files[path])
    server.cut_after[path] = size // 3
    fetch(["LaMP-5"], tmp_path, time_based=False, base_url=server.url, splits=["dev"], pause_s=0.0)
    assert questions_path(tmp_path / "LaMP_5", "dev").read_bytes() == server.files[path]
    starts = [asked for asked_path, asked in server.asked if asked_path == path]
    assert starts[:3] == [None, f"bytes={size // 3}-", f"bytes={size // 3 * 2}-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_later_run_goes_on_from_the_partial_file(server: LampServer, tmp_path: Path, ranges: bool) -> None:
    offer(server, "LaMP_5", splits=("dev",))
    server.ranges = ranges
    target = questions_path(tmp_path / "LaMP_5", "dev")
    target.parent.mkdir(parents=True)
    whole = server.files["/LaMP/LaMP_5/dev/dev_questions.json"]
    target.with_name("dev_questions.json.partial").write_bytes(whole[:10])
    fetch(["LaMP-5"], tmp_path, time_based=False, base_url=server.url, splits=["dev"])
    assert target.read_bytes() == whole
    assert server.asked[0] == ("/LaMP/LaMP_5/dev/dev_questions.json", "bytes=10-")
    asked = len(server.asked)
    fetch(["LaMP-5"], tmp_path, time_based=False, base_url=server.url, splits=["dev"])
    assert len(server.asked) == asked  # both files are there: nothing is asked again


@pytest.mark.parametrize("surplus", [b"", b"of another version"])
def test_a_partial_file_that_is_whole_or_too_long_ends_well(server: LampServer, tmp_path: Path, surplus: bytes) -> None:
    offer(server, "LaMP_5", splits=("dev",))
    target = questions_path(tmp_path / "LaMP_5", "dev")
    target.parent.mkdir(parents=True)
    whole = server.files["/LaMP/LaMP_5/dev/dev_questions.json"]
    target.with_name("dev_questions.json.partial").write_bytes(whole + surplus)
    fetch(["LaMP-5"], tmp_path, time_based=False, base_url=server.url, splits=["dev"], pause_s=0.0)
    assert target.read_bytes() == whole


def test_a_server_that_stays_down_is_told_after_some_attempts(server: LampServer, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DataError, match=r"download failed, 5 time\(s\) in a row .*503.*run the same command again"):
        fetch(["LaMP-3"], tmp_path, time_based=False, base_url=server.url, pause_s=0.0)
    assert len(server.asked) == 5
    server.status = 403
    with pytest.raises(DataError, match=r"failed, 1 time\(s\)"):
        fetch(["LaMP-3"], tmp_path, time_based=False, base_url=server.url, pause_s=0.0)


def test_what_is_not_json_is_deleted_and_told(server: LampServer, tmp_path: Path) -> None:
    offer(server, "LaMP_3")
    server.files["/LaMP/LaMP_3/train/train_questions.json"] = b'[{"id": "1", "inp'
    with pytest.raises(DataError, match="what came is not JSON"):
        fetch(["LaMP-3"], tmp_path, time_based=False, base_url=server.url)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("tasks", "splits", "told"),
    [
        (["LaMP-3", "LaMP-6"], ["train"], "LDC2015T03"),
        (["LaMP-9"], ["train"], "unknown task 'LaMP-9'"),
        (["LaMP-3"], ["validation"], "unknown split(s) 'validation'; allowed are train, dev, test"),
    ],
)
def test_what_cannot_be_fetched_is_refused_before_anything_is_asked(
    server: LampServer, tmp_path: Path, tasks: list[str], splits: list[str], told: str
) -> None:
    with pytest.raises(ParamsError) as error:
        fetch(tasks, tmp_path, time_based=False, base_url=server.url, splits=splits)
    assert told in str(error.value)
    assert server.asked == []


def put_task(source: Path, folder: str, at: str | None = None, splits: tuple[str, ...] = ("train", "dev")) -> None:
    """A small sound folder of that task."""
    task = TASKS[folder]
    gold = task.labels[0] if task.labels else "an answer"
    item = {"id": "0"} | {key: gold if key in ("tag", "category", "score") else "text" for key in task.item_keys}
    for split in splits:
        question = Question(f"{split}1", task.templated("x"), (item,))
        write_split(source / (at or folder), split, task, [question], {question.question_id: gold})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sound_folders_are_copied_and_identical_ones_left_untouched(tmp_path: Path) -> None:
    source, raw = tmp_path / "mine", tmp_path / "raw"
    for folder in ("LaMP_7", "LaMP_3", "LaMP_2N"):
        put_task(source, folder, splits=("train", "dev", "test"))
    outputs_path(source / "LaMP_3", "test").unlink()
    (source / "notes.txt").write_text("not LaMP's")
    assert [*add(source, raw)] == ["LaMP_2N", "LaMP_3", "LaMP_7"]
    assert contents(raw) == {name: data for name, data in contents(source).items() if name != "notes.txt"}
    times = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    put_task(source, "LaMP_7", splits=("train", "dev"))
    outputs_path(source / "LaMP_7", "test").unlink()
    assert [*add(source, raw)] == ["LaMP_2N", "LaMP_3", "LaMP_7"]
    assert "LaMP_7/test/test_outputs.json" not in contents(raw)  # a folder that differs is replaced whole
    assert all(path.stat().st_mtime_ns == times[path] for path in raw.rglob("*") if "LaMP_7" not in path.parts)
    assert {path.name for path in raw.iterdir()} == {"LaMP_2N", "LaMP_3", "LaMP_7"}


def test_one_bad_folder_stops_all_and_every_fault_is_told(tmp_path: Path) -> None:
    source, raw = tmp_path / "mine", tmp_path / "raw"
    put_task(source, "LaMP_3")
    put_task(source, "LaMP_4")
    put_task(source, "LaMP_5", splits=("train",))
    outputs_path(source / "LaMP_4", "dev").write_bytes(HTML)
    with pytest.raises(DataError) as error:
        add(source, raw)
    message = str(error.value)
    assert "dev_outputs.json: is an HTML page" in message
    assert f"{source / 'LaMP_5'}: only train is there, of 1 questions: too few to learn and to evaluate" in message
    assert f"Nothing was copied to {raw}." in message
    assert not raw.exists()


def test_lamps_own_layout_of_its_two_second_tasks_is_understood(tmp_path: Path) -> None:
    source, raw = tmp_path / "official", tmp_path / "raw"
    put_task(source, "LaMP_2N", at="LaMP_2")
    put_task(source, "LaMP_2", at="LaMP_2/new")
    assert [*add(source, raw)] == ["LaMP_2", "LaMP_2N"]
    assert read_split(raw / "LaMP_2", "dev", TASKS["LaMP_2"])[1] == {"dev1": "sci-fi"}
    assert read_split(raw / "LaMP_2N", "dev", TASKS["LaMP_2N"])[1] == {"dev1": "food & drink"}
    assert not (raw / "LaMP_2" / "new").exists()
    assert [*add(source, source)] == ["LaMP_2", "LaMP_2N"]  # even in place
    assert contents(source) == contents(raw)


def test_news_left_in_the_movie_folder_is_told(tmp_path: Path) -> None:
    put_task(tmp_path, "LaMP_2N", at="LaMP_2")
    with pytest.raises(DataError, match="Put these files into a folder named LaMP_2N"):
        add(tmp_path, tmp_path / "raw")


def test_splits_of_different_families_are_refused(tmp_path: Path) -> None:
    put_task(tmp_path, "LaMP_4")
    question = Question("1", TASKS["LaMP_4"].templated("x"), (), user_id="u")
    write_split(tmp_path / "LaMP_4", "dev", TASKS["LaMP_4"], [question], {"1": "t"})
    with pytest.raises(DataError, match="train is user-based, dev is time-based"):
        add(tmp_path, tmp_path / "raw")


def test_a_folder_without_tasks_or_with_an_unknown_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no LaMP_\* folder.*train_questions\.json"):
        add(tmp_path, tmp_path / "raw")
    with pytest.raises(DataError, match="nowhere: is no folder"):
        add(tmp_path / "nowhere", tmp_path / "raw")
    put_task(tmp_path, "LaMP_3", at="LaMP_8")
    with pytest.raises(DataError, match=r"LaMP_8: no such task\. Allowed folders are LaMP_1, LaMP_2,"):
        add(tmp_path, tmp_path / "raw")


@pytest.mark.skipif(not REAL.is_dir(), reason="real text is not beside this checkout")
def test_real_text_is_added_whole(tmp_path: Path) -> None:
    assert [*add(REAL / "news", tmp_path)] == ["LaMP_2N", "LaMP_4"]
    assert contents(tmp_path) == contents(REAL / "news")
