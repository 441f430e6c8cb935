"""Receipts of what was forgotten: JSON with an Ed25519 signature, and the key that makes it.

    .forget/key            the private key, 0600, made at first use
    .forget/<id>.json      the receipt
    .forget/<id>.journal   ids and texts that are being looked for, while the work goes on; gone when it is done

The folder is its owner's alone (0700).

A signature shows that the receipt is as this project wrote it; not that nobody who has the key wrote another.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hydra_ml.errors import ArtifactError, ParamsError
from hydra_ml.io import signing
from hydra_ml.io.files import load_json, save_json

FOLDER = Path(".forget")  # below the project's root
KEY = "key"
LOCK = ".lock"  # held while somebody is being forgotten
SIGNED = ("signature", "public_key")


@dataclass(frozen=True)
class Signature:
    """What a receipt's signature says."""

    is_whole: bool  # the receipt is what was signed
    is_ours: bool  # by this project's key

    def told(self) -> str:
        """In words."""
        if not self.is_whole:
            return "BROKEN: the receipt is not what was signed"
        return "good" if self.is_ours else "good, but by another project's key (or this one's key was made anew since)"


def sign(receipt: dict[str, Any], root: Path) -> dict[str, Any]:
    """The receipt with its signature and the public key."""
    key = _key(root)
    return {**receipt, "public_key": key.public, "signature": signing.sign(_content(receipt), key)}


def check(receipt: dict[str, Any], root: Path) -> Signature:
    """What the signature of a receipt says. Raises ArtifactError if it has none."""
    public, signature = (receipt.get(name) for name in ("public_key", "signature"))
    if not (isinstance(public, str) and isinstance(signature, str) and signing.is_public_key(public)):
        raise ArtifactError("The receipt has no signature that can be read.")
    if not signing.verify(_content(receipt), signature, public):
        return Signature(False, False)
    return Signature(True, (root / FOLDER / KEY).exists() and _key(root).public == public)


def load_receipt(path: Path) -> dict[str, Any]:
    """The receipt in a file. Raises ArtifactError if it is none."""
    document = load_json(path)
    if not isinstance(document, dict) or document.get("kind") != "forget" or "marks" not in document:
        raise ArtifactError(f"{path}: no receipt of `hydra-ml forget`.")
    return document


def open_journals(root: Path) -> list[Path]:
    """Journals of work that was cut short, below the root; [] while a run is at it, for it may be its own."""
    found = sorted((root / FOLDER).glob("*.journal"))
    lock = FileLock(root / FOLDER / LOCK, timeout=0)
    try:
        with lock if found else nullcontext():
            return found
    except (Timeout, OSError):
        return []


def save_private(document: Any, path: Path) -> None:
    """Write a document into a folder that only its owner may enter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    save_json(document, path)


def _key(root: Path) -> signing.SigningKey:
    """This project's key, made where there is none."""
    path = root / FOLDER / KEY
    try:
        return signing.load_key(path) if path.exists() else signing.make_key(path)
    except ParamsError as error:
        raise ArtifactError(
            f"{path}: not the key that receipts are signed with ({error}). Restore it from a backup, or remove it: a "
            "new one is made, and older receipts then show another key."
        ) from error


def _content(receipt: dict[str, Any]) -> bytes:
    """What is signed: all but the signature itself."""
    rest = {name: value for name, value in receipt.items() if name not in SIGNED}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
