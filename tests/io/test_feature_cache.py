"""The feature cache: each text encoded once, across processes' lives; damage is told."""

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.feature_cache import CachedEncoder, OverlayEncoder


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


def test_a_damaged_cache_names_the_file_and_the_remedy(tmp_path):
    (tmp_path / "one").write_bytes(b"<html>not a database</html>" * 100)
    with pytest.raises(ArtifactError, match=r"not a usable feature cache.*Delete the file"):
        CachedEncoder(CountingEncoder, tmp_path / "one", dim=4)


class ShakyEncoder(CountingEncoder):
    """Vectors that depend on how many texts were encoded together, as real ones do in their last bits."""

    def encode(self, texts, *, done=None):
        return super().encode(texts) + np.float32(len(texts))


def test_an_overlay_reads_the_file_and_never_writes_it(tmp_path):
    with CachedEncoder(ShakyEncoder, tmp_path / "one", dim=4) as cached:
        stored = cached.encode(["a"])
    encoder = ShakyEncoder()
    overlay = OverlayEncoder(lambda: encoder, tmp_path / "one", dim=4)
    first = overlay.encode(["a", "b", "c"])
    assert first[0].tobytes() == stored[0].tobytes()
    assert overlay.encode(["c", "d"])[0].tobytes() == first[2].tobytes()  # remembered
    assert encoder.asked == ["b", "c", "d"]
    overlay.forget()
    assert overlay.encode(["a", "b", "c"]).tobytes() == first.tobytes()
    assert encoder.asked == ["b", "c", "d", "b", "c"]
    with CachedEncoder(CountingEncoder, tmp_path / "one", dim=4) as cached:
        assert cached.encode(["b"])[0].tobytes() != first[1].tobytes()  # nobody had written it


def test_what_others_write_meanwhile_does_not_move_an_overlay(tmp_path):
    overlay = OverlayEncoder(ShakyEncoder, tmp_path / "one", dim=4)
    first = overlay.encode(["a", "b"])
    with CachedEncoder(ShakyEncoder, tmp_path / "one", dim=4) as cached:
        assert cached.encode(["a"])[0].tobytes() != first[0].tobytes()
    assert overlay.encode(["a"])[0].tobytes() == first[0].tobytes()


def test_texts_encoded_alone_depend_on_no_order(tmp_path):
    beneath = OverlayEncoder(ShakyEncoder, tmp_path / "one", dim=4)
    known = beneath.encode(["k", "l"])
    one, two = (OverlayEncoder(ShakyEncoder, tmp_path / "one", dim=4, beneath=beneath, alone=True) for _ in range(2))
    together = one.encode(["a", "k", "b"])
    assert together[1].tobytes() == known[0].tobytes()
    assert two.encode(["b"])[0].tobytes() == together[2].tobytes()
    assert two.encode(["b", "a"])[1].tobytes() == together[0].tobytes()
    assert two.encode([]).shape == (0, 4)
