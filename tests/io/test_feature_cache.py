"""The feature cache: each text encoded once, across processes' lives; damage is told and mended."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.records import content_digest


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


def vectors_of(path, texts, dim=4):
    """The vectors that a cache gives, and the texts that had to be encoded for it."""
    encoder = CountingEncoder()
    with CachedEncoder(lambda: encoder, path, dim=dim) as cached:
        return cached.encode(texts), encoder.asked


def test_a_file_that_is_no_cache_is_begun_anew_and_told(tmp_path, caplog):
    (tmp_path / "one").write_bytes(b"<html>not a database</html>" * 100)
    vectors, asked = vectors_of(tmp_path / "one", ["a"])
    assert asked == ["a"]
    assert "one: the feature cache is damaged" in caplog.text
    again, asked = vectors_of(tmp_path / "one", ["a"])
    assert asked == []
    assert again.tobytes() == vectors.tobytes()


def test_damage_found_later_is_mended_in_the_same_way(tmp_path, caplog):
    texts = [f"text {i}" for i in range(2000)]
    vectors, _ = vectors_of(tmp_path / "one", texts)
    whole = (tmp_path / "one").read_bytes()
    (tmp_path / "one").write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    again, asked = vectors_of(tmp_path / "one", texts)
    assert again.tobytes() == vectors.tobytes()
    assert asked == texts
    assert vectors_of(tmp_path / "one", texts)[1] == []


@pytest.mark.parametrize("change", ["flip", "swap", "cut", "text"])
def test_a_damaged_vector_is_encoded_again_and_told(tmp_path, caplog, change):
    path, texts = tmp_path / "one", ["a", "b", "c"]
    vectors, _ = vectors_of(path, texts)
    with closing(sqlite3.connect(path)) as db, db:
        (first, of_a), (_, of_b) = db.execute("SELECT digest, vector FROM vectors LIMIT 2").fetchall()
        put = "UPDATE vectors SET vector = ? WHERE digest = ?"
        spoiled = {"flip": bytes([of_a[0] ^ 1, *of_a[1:]]), "swap": of_b, "cut": of_a[:-5], "text": "no bytes"}
        db.execute(put, (spoiled[change], first))
    again, asked = vectors_of(path, texts)
    assert again.tobytes() == vectors.tobytes()
    assert len(asked) == 1
    assert "1 vectors are damaged" in caplog.text
    assert vectors_of(path, texts)[1] == []


def test_vectors_of_an_earlier_version_have_no_sum_and_are_kept(tmp_path):
    with closing(sqlite3.connect(tmp_path / "one")) as old, old:
        old.execute("CREATE TABLE vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        row = (bytes.fromhex(content_digest("a")), np.arange(4, dtype=np.float32).tobytes())
        old.execute("INSERT INTO vectors VALUES (?, ?)", row)
    vectors, asked = vectors_of(tmp_path / "one", ["a"])
    assert vectors.tolist() == [[0, 1, 2, 3]]
    assert asked == []


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached:
        cached._db.execute("PRAGMA query_only=ON")
        with pytest.raises(ArtifactError, match="Check free space and permissions"):
            cached.encode(["a"])
