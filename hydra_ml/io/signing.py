"""Ed25519 keys of an operator, kept as files, and signatures over bytes: who has the public half can tell who signed.

A key is a JSON file of its owner alone (0600); the public half is a line of text, to be handed on. Nothing here says
what is signed: `serving.signed_release` signs releases.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from hydra_ml.errors import ParamsError

PREFIX = "hydra-ed25519:"  # before every public key as text
_SECRET = "hydra-ed25519-secret:"
_SIZE = 32  # bytes of either half


@dataclass(frozen=True)
class SigningKey:
    """A private key, opened."""

    secret: bytes = field(repr=False)

    @property
    def public(self) -> str:
        """The public half as text: "hydra-ed25519:" and 44 characters of base64."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        raw = Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        return PREFIX + base64.b64encode(raw).decode()


def make_key(path: Path) -> SigningKey:
    """A new key, kept at `path` for nobody else to read. Raises ParamsError if a file is there already: a key is never
    overwritten."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = SigningKey(Ed25519PrivateKey.generate().private_bytes_raw())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_SECRET + base64.b64encode(key.secret).decode() + "\n")
    except FileExistsError:
        raise ParamsError(f"{path}: there is a file already, and a key is never overwritten. Name another.") from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be written ({error.strerror}). Name another place.") from None
    return key


def load_key(path: Path) -> SigningKey:
    """The key at `path`. Raises ParamsError if it is missing or none, or readable by other accounts."""
    try:
        if path.exists() and not path.is_file():  # a pipe never ends
            raise ParamsError(f"{path}: is no file. Name the one that `hydra-ml releases key` wrote.")
        with path.open("r", encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ParamsError(f"{path}: a private key that other accounts may read. chmod 600 {path}")
            text = file.read(200).strip()
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such key. `hydra-ml releases key` makes one.") from None
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        text = ""
    secret = _decoded(text, _SECRET)
    if secret is None:
        raise ParamsError(f"{path}: not a private key that `hydra-ml releases key` wrote.")
    return SigningKey(secret)


def is_public_key(text: str) -> bool:
    """Whether a text is a public key as `SigningKey.public` writes it."""
    return _decoded(text, PREFIX) is not None


def key_name(public: str) -> str:
    """16 hex digits that name a public key."""
    return hashlib.blake2b(public.encode(), digest_size=8).hexdigest()


def sign(content: bytes, key: SigningKey) -> str:
    """The signature over the content, 88 characters of base64; the same content and key, the same signature."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(key.secret).sign(content)).decode()


def verify(content: bytes, signature: str, public: str) -> bool:
    """Whether the owner of the public key signed exactly this content; False for a text that is no signature.

    Raises ParamsError if `public` is no key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = _decoded(public, PREFIX)
    if raw is None:
        raise ParamsError(
            f"{public!r}: not a public key; one begins with {PREFIX!r}, as `hydra-ml releases key` prints."
        )
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _decoded(text: str, prefix: str) -> bytes | None:
    """The 32 bytes of a key written with this prefix; None if it is none."""
    if not text.startswith(prefix):
        return None
    try:
        raw = base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == _SIZE else None
