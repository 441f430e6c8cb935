import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.tables import save_table
from hydra_ml.io.user_tables import rows_of_users


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
