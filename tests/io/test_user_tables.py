from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.tables import save_table
from hydra_ml.io.user_tables import bounds_of, rows_of_users


def test_only_row_groups_with_the_users_are_read(tmp_path):
    table = pd.DataFrame({"user_id": [f"u{i:04d}" for i in range(1000)], "n": range(1000)})
    save_table(table, tmp_path / "t.parquet", row_group_size=10)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[4:400] = bytes(396)  # the first row groups are unreadable now
    (tmp_path / "t.parquet").write_bytes(content)
    assert rows_of_users(tmp_path / "t.parquet", ["u0500", "u0999", "nobody"], ["user_id", "n"])["n"].tolist() == [
        500,
        999,
    ]
    with pytest.raises(ArtifactError):
        rows_of_users(tmp_path / "t.parquet", ["u0000"], ["user_id", "n"])


def test_a_column_of_another_kind_than_the_file_says_is_told(tmp_path):
    """Asked for such a column's bounds, pyarrow ends the interpreter."""

    class Told:
        physical_type = "FLOAT"

        @property
        def statistics(self):
            raise AssertionError("asked")

    table = pd.DataFrame({"user_id": ["a"]})
    save_table(table, tmp_path / "t.parquet")

    class Damaged:
        schema = pq.ParquetFile(tmp_path / "t.parquet").schema
        metadata = SimpleNamespace(row_group=lambda group: SimpleNamespace(column=lambda column: Told()))

    with pytest.raises(ValueError, match="another kind of column"):
        bounds_of(Damaged(), 0, 0)


def test_text_that_is_no_utf_8_is_refused_when_it_is_read(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    for table in (pa.table({"user_id": ["a"], "text": broken}), pa.table({"user_id": ["a"], "n": broken})):
        pq.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(ArtifactError, match=r"t.parquet: cannot be read as Parquet"):
            rows_of_users(tmp_path / "t.parquet", ["a"], table.column_names)
