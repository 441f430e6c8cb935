"""What an error may say of an address."""

import traceback

import pytest

from hydra_ml.errors import ArtifactError, without_secret
from hydra_ml.io.mlflow.store import speaking


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://bob:secret@host:5000/x", "http://host:5000/x"),
        ("postgresql://bob:p@ss@host/db and http://h/x", "postgresql://host/db and http://h/x"),
        ("http://host/path@2", "http://host/path@2"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
    ],
)
def test_an_address_is_shown_without_user_and_password(address, shown):
    assert without_secret(address) == shown


def test_not_even_a_traceback_tells_a_password():
    word = "".join(["se", "cret"])  # as no source line would have it
    address = f"http://bob:{word}@host"
    with pytest.raises(ArtifactError) as caught, speaking(address, "look"):
        raise OSError(f"no route to {address}")
    assert "secret" not in "".join(traceback.format_exception(caught.value))
