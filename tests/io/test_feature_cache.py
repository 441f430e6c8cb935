"""The feature cache: each text encoded once, across processes' lives; damage is told."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.feature_cache import CachedEncoder


class CountingEncoder:
    """Vectors from a text's bytes; remembers what it was asked."""

    dim = 4

    def __init__(self):
        self.asked = []

    def encode(self, texts, *, done=None):
        self.asked += texts
        rows = [np.random.default_rng(list(text.encode()) or [0]).normal(size=4) for text in texts]
        return np.array(rows, dtype=np.float32)


def test_known_texts_are_never_encoded_again(tmp_path):
    first = CountingEncoder()
    with CachedEncoder(lambda: first, tmp_path / "one", dim=4) as cached:
        vectors = cached.encode(["a", "b", "a"])
    assert first.asked == ["a", "b"]
    assert vectors[0].tobytes() == vectors[2].tobytes()
    second = CountingEncoder()
    with CachedEncoder(lambda: second, tmp_path / "one", dim=4) as cached:
        again = cached.encode(["b", "c", "a"])
    assert second.asked == ["c"]
    assert again[0].tobytes() == vectors[1].tobytes()


def test_an_encoder_is_not_loaded_for_texts_it_has_read_before(tmp_path):
    with CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached:
        vectors = cached.encode(["a"])

    def must_not_load():
        raise AssertionError("loaded for nothing")

    with CachedEncoder(must_not_load, tmp_path / "one", dim=4) as cached:
        assert cached.encode(["a", "a"])[1].tobytes() == vectors[0].tobytes()
        assert cached.encode([]).shape == (0, 4)


def test_a_cache_laid_out_by_an_earlier_version_goes_on(tmp_path):
    with closing(sqlite3.connect(tmp_path / "one")) as old:
        old.execute("CREATE TABLE vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    for asked in (["a", "b"], []):
        encoder = CountingEncoder()
        with CachedEncoder(lambda encoder=encoder: encoder, tmp_path / "one", dim=4) as cached:
            cached.encode(["a", "b"])
        assert encoder.asked == asked


def test_a_damaged_cache_names_the_file_and_the_remedy(tmp_path):
    (tmp_path / "one").write_bytes(b"<html>not a database</html>" * 100)
    with pytest.raises(ArtifactError, match=r"not a usable feature cache.*delete it"):
        CachedEncoder(CountingEncoder, tmp_path / "one", dim=4)


def test_damage_found_later_is_told_in_the_same_way(tmp_path):
    texts = [f"text {i}" for i in range(2000)]
    with CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached:
        cached.encode(texts)
    whole = (tmp_path / "one").read_bytes()
    (tmp_path / "one").write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with (
        CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached,
        pytest.raises(ArtifactError, match=r"not a usable feature cache.*delete it"),
    ):
        cached.encode(texts)


def test_a_vector_of_another_length_is_told(tmp_path):
    with CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached:
        cached.encode(["a"])
    with (
        CachedEncoder(CountingEncoder, tmp_path / "one", dim=3) as cached,
        pytest.raises(ArtifactError, match="not a usable feature cache"),
    ):
        cached.encode(["a"])


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached:
        cached._db.execute("PRAGMA query_only=ON")
        with pytest.raises(ArtifactError, match="check free space and permissions"):
            cached.encode(["a"])
