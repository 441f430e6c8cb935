import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.llm.chat import Answer


def key(number: int) -> str:
    return f"{number:032x}"


def test_answers_come_back_in_any_number_and_survive_closing(tmp_path: Path) -> None:
    answers = {key(i): Answer(f"answer {i} ünï", i, 2 * i) for i in range(2500)}
    with ResponseCache(tmp_path / "deep" / "cache.sqlite") as cache:
        cache.put_many(answers)
        assert cache.get_many([key(7), key(99_999)]) == {key(7): Answer("answer 7 ünï", 7, 14)}
        assert cache.get_many([]) == {}
    with ResponseCache(tmp_path / "deep" / "cache.sqlite") as cache:
        assert cache.get_many(list(answers)) == answers
        assert len(cache) == 2500


def test_the_first_answer_to_a_key_stays(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "cache.sqlite") as cache:
        cache.put_many({key(1): Answer("first", 1, 1)})
        cache.put_many({key(1): Answer("second", 2, 2)})
        assert cache.get_many([key(1)]) == {key(1): Answer("first", 1, 1)}


@pytest.mark.parametrize("nothing", ["", " \n\t"])
def test_an_answer_without_text_of_an_earlier_version_is_none_and_makes_room(tmp_path: Path, nothing: str) -> None:
    with ResponseCache(tmp_path / "cache.sqlite") as cache:
        cache.put_many({key(1): Answer(nothing, 5, 0)})
        assert cache.get_many([key(1)]) == {}
        cache.put_many({key(1): Answer("there", 1, 1)})
        assert cache.get_many([key(1)]) == {key(1): Answer("there", 1, 1)}


def test_what_was_put_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from hydra_ml.io.response_cache import ResponseCache; "
        "from hydra_ml.llm.chat import Answer; cache = ResponseCache(Path(sys.argv[1])); "
        "cache.put_many({'0' * 32: Answer('kept', 1, 1)}); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "cache.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(path)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == -9
    with ResponseCache(path) as cache:
        assert cache.get_many(["0" * 32]) == {"0" * 32: Answer("kept", 1, 1)}


def test_several_processes_make_and_fill_one_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hydra_ml.io.response_cache import ResponseCache; "
        "from hydra_ml.llm.chat import Answer; cache = ResponseCache(Path(sys.argv[1])); start = int(sys.argv[2])\n"
        "for i in range(start, start + 200): cache.put_many({f'{i:032x}': Answer(str(i), 1, 1)})"
    )
    path = tmp_path / "cache.sqlite"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    starts = (0, 100, 300, 500)  # the first two overlap
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(start)], env=environment) for start in starts
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0, 0]
    with ResponseCache(path) as cache:
        found = cache.get_many([key(i) for i in range(700)])
    assert {int(name, 16): answer.text for name, answer in found.items()} == {i: str(i) for i in range(700)}


@pytest.mark.parametrize(
    "content", [b"<html>not a database, but long enough to look at</html>" * 20, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_damaged_file_is_named_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"cache\.sqlite.*delete it"):
        ResponseCache(path)
    assert path.read_bytes() == content


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    ResponseCache(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE version SET number = 99")
    with pytest.raises(ArtifactError, match=r"version 99; this program reads version 1"):
        ResponseCache(path)


@pytest.mark.parametrize("change", ["text = 'answer 2'", "text = x'00'", "tokens_in = 9", "tokens_out = 'many'"])
def test_a_damaged_answer_counts_as_never_bought_and_makes_room(tmp_path: Path, caplog, change: str) -> None:
    path, answers = tmp_path / "cache.sqlite", {key(i): Answer(f"answer {i}", i, i) for i in range(3)}
    with ResponseCache(path) as cache:
        cache.put_many(answers)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE answers SET {change} WHERE key = ?", (bytes.fromhex(key(1)),))
    with ResponseCache(path) as cache:
        assert cache.get_many([*answers]) == {name: answers[name] for name in (key(0), key(2))}
        assert "1 answers are damaged" in caplog.text
        cache.put_many({key(1): Answer("bought again", 1, 1)})
        assert cache.get_many([key(1)]) == {key(1): Answer("bought again", 1, 1)}


def test_an_answer_of_another_key_is_none_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with ResponseCache(path) as cache:
        cache.put_many({key(1): Answer("one", 1, 1)})
    with closing(sqlite3.connect(path)) as db, db:
        for table in ("answers", "sums"):
            db.execute(f"UPDATE {table} SET key = ?", (bytes.fromhex(key(2)),))
    with ResponseCache(path) as cache:
        assert cache.get_many([key(1), key(2)]) == {}


def test_answers_bought_before_there_were_sums_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with ResponseCache(path) as cache:
        cache.put_many({key(1): Answer("one", 1, 1)})
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE sums")
    with ResponseCache(path) as cache:
        assert cache.get_many([key(1)]) == {key(1): Answer("one", 1, 1)}
        cache.put_many({key(1): Answer("two", 2, 2), key(3): Answer("three", 3, 3)})
        assert cache.get_many([key(1), key(3)]) == {key(1): Answer("one", 1, 1), key(3): Answer("three", 3, 3)}


@pytest.mark.timeout(30)
def test_a_write_that_fails_locks_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with ResponseCache(path) as broken, ResponseCache(path) as other:
        broken._db.execute("DROP TABLE sums")
        with pytest.raises(ArtifactError, match="no such table: sums"):
            broken.put_many({key(1): Answer("one", 1, 1)})
        other._db.execute("BEGIN IMMEDIATE")
        assert not broken.get_many([]), "nothing of it is kept"


def test_a_forgotten_users_answers_go_with_those_of_nobody_and_shared_ones_stay(tmp_path):
    keys = [f"{number:032x}" for number in range(4)]
    owners = {keys[0]: {"ann"}, keys[1]: {"bob"}, keys[2]: {"ann", "bob"}}
    with ResponseCache(tmp_path / "r.sqlite") as cache:
        cache.note_owners(owners)
        cache.put_many({key: Answer(f"violoncello {key[-1]}", 1, 1) for key in keys})
        assert cache.answers_of("ann") == (1, 1)
        assert cache.forget_user("ann") == (1, 1)
        assert [*cache.get_many(keys)] == keys[1:3]
        assert cache.answers_of("ann") == (0, 0)
        content = b"".join(path.read_bytes() for path in tmp_path.glob("r.sqlite*"))
        assert (b"violoncello 0" in content, b"violoncello 1" in content, b"violoncello 3" in content) == (
            False,
            True,
            False,
        )
        assert b"ann" not in content
        assert cache.forget_user("bob") == (2, 0)
