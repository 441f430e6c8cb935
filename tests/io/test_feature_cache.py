"""The feature cache: each text encoded once, across processes' lives; damage is told."""

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.feature_cache import CachedEncoder


class CountingEncoder:
    """Vectors from a text's bytes; remembers what it was asked."""

    dim, digest = 4, "0123456789abcdef"

    def __init__(self):
        self.asked = []

    def encode(self, texts, *, done=None):
        self.asked += texts
        rows = [np.random.default_rng(list(text.encode()) or [0]).normal(size=4) for text in texts]
        return np.array(rows, dtype=np.float32)


def test_known_texts_are_never_encoded_again(tmp_path):
    first = CountingEncoder()
    with CachedEncoder(first, tmp_path) as cached:
        vectors = cached.encode(["a", "b", "a"])
    assert first.asked == ["a", "b"]
    assert vectors[0].tobytes() == vectors[2].tobytes()
    second = CountingEncoder()
    with CachedEncoder(second, tmp_path) as cached:
        again = cached.encode(["b", "c", "a"])
    assert second.asked == ["c"]
    assert again[0].tobytes() == vectors[1].tobytes()


def test_another_encoder_has_a_cache_of_its_own(tmp_path):
    with CachedEncoder(CountingEncoder(), tmp_path) as cached:
        cached.encode(["a"])
    other = CountingEncoder()
    other.digest = "feedfeedfeedfeed"
    with CachedEncoder(other, tmp_path) as cached:
        cached.encode(["a"])
    assert other.asked == ["a"]


def test_no_texts(tmp_path):
    with CachedEncoder(CountingEncoder(), tmp_path) as cached:
        assert cached.encode([]).shape == (0, 4)


def test_a_damaged_cache_names_the_file_and_the_remedy(tmp_path):
    (tmp_path / "features-0123456789abcdef.sqlite").write_bytes(b"<html>not a database</html>" * 100)
    with pytest.raises(ArtifactError, match=r"not a usable feature cache.*Delete the file"):
        CachedEncoder(CountingEncoder(), tmp_path)
