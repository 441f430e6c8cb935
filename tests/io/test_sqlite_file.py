import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_ml.io.sqlite_file import is_damage, open_shared


def test_many_processes_open_one_new_file_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hydra_ml.io.sqlite_file import open_shared\n"
        "for line in sys.stdin:\n"
        "    db = open_shared(Path(line.strip())); db.execute('CREATE TABLE IF NOT EXISTS t (x)'); db.close()"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("".join(f"{tmp_path / str(i) / 'file.sqlite'}\n" for i in range(40)))
        process.stdin.flush()
    assert [process.communicate()[1] for process in running] == [""] * 6


def test_a_file_keeps_its_page_size(tmp_path: Path) -> None:
    for _ in range(2):
        db = open_shared(tmp_path / "file.sqlite", page_bytes=8192)
        db.execute("CREATE TABLE IF NOT EXISTS t (x)")
        assert db.execute("PRAGMA page_size").fetchone() == (8192,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.close()


@pytest.mark.timeout(20)
def test_a_file_cut_short_is_damaged_and_not_waited_for(tmp_path):
    (tmp_path / "one").write_bytes(b"S")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_shared(tmp_path / "one")
    assert is_damage(caught.value)
