"""Keys and signatures: what was signed is told from what was not, and a key is its owner's alone."""

from __future__ import annotations

import os

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.io.signing import PREFIX, is_public_key, key_name, load_key, make_key, sign, verify


def test_only_the_same_content_under_the_same_key_is_believed(tmp_path):
    key, other = make_key(tmp_path / "keys/own.key"), make_key(tmp_path / "other.key")
    signature = sign(b"release 3", key)
    assert signature == sign(b"release 3", load_key(tmp_path / "keys/own.key"))
    assert verify(b"release 3", signature, key.public)
    assert not verify(b"release 4", signature, key.public)
    assert not verify(b"release 3", signature, other.public)
    assert key_name(key.public) != key_name(other.public)
    for forged in ("", "no base64", "AAAA", signature[:-4], signature + "\n"):
        assert not verify(b"release 3", forged, key.public), forged


def test_a_key_is_its_owners_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "own.key"
    key = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert repr(key) == "SigningKey()"
    with pytest.raises(ParamsError, match="never overwritten"):
        make_key(path)
    assert load_key(path) == key
    path.chmod(0o640)
    with pytest.raises(ParamsError, match=r"other accounts may read. chmod 600"):
        load_key(path)


@pytest.mark.parametrize("text", [b"", b"hydra-ed25519-secret:AAAA", b"\xff\xfe", b"x" * 1000])
def test_a_file_that_holds_no_key_is_one_message(tmp_path, text):
    path = tmp_path / "own.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ParamsError, match="not a private key"):
        load_key(path)
    with pytest.raises(ParamsError, match="no such key"):
        load_key(tmp_path / "none.key")


def test_a_place_that_can_hold_no_key_is_one_message(tmp_path):
    os.mkfifo(tmp_path / "pipe.key")
    for path in (tmp_path, tmp_path / "pipe.key"):
        with pytest.raises(ParamsError, match="is no file"):
            load_key(path)
    make_key(tmp_path / "own.key")
    for path in (tmp_path / "own.key/other.key", tmp_path / ("k" * 300)):
        with pytest.raises(ParamsError, match=r"cannot be written|a file already"):
            make_key(path)
        with pytest.raises(ParamsError, match="cannot be read"):
            load_key(path)


@pytest.mark.parametrize("text", ["", PREFIX, f"{PREFIX}AAAA", f"{PREFIX}!!!!", "ssh-ed25519 AAAA"])
def test_a_public_key_that_is_none_is_refused(tmp_path, text):
    assert not is_public_key(text)
    with pytest.raises(ParamsError, match="not a public key"):
        verify(b"", "", text)


def test_the_public_half_is_a_line_of_text(tmp_path):
    public = make_key(tmp_path / "own.key").public
    assert is_public_key(public)
    assert len(public) == len(PREFIX) + 44
