"""Receipts: signed by the project's own key, which only its owner may read."""

from __future__ import annotations

import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.receipts import FOLDER, KEY, check, sign


def test_a_signed_receipt_is_whole_and_ours_until_anything_in_it_changes(tmp_path):
    receipt = sign({"kind": "forget", "user": "\u00e9", "n": 1}, tmp_path)
    key = tmp_path / FOLDER / KEY
    assert key.stat().st_mode & 0o777 == 0o600
    assert check(receipt, tmp_path).is_ours
    assert sign({"kind": "forget", "user": "\u00e9", "n": 1}, tmp_path) == receipt, "the key is kept"
    for changed in ({"n": 2}, {"more": 1}, {"signature": receipt["signature"].swapcase()}):
        assert not check({**receipt, **changed}, tmp_path).is_whole
    other = sign({"kind": "forget"}, tmp_path / "other")
    assert (check(other, tmp_path).is_whole, check(other, tmp_path).is_ours) == (True, False)


def test_a_damaged_key_or_signature_is_told(tmp_path):
    receipt = sign({"kind": "forget"}, tmp_path)
    for lacking in ({"signature": None}, {"public_key": "no key"}):
        with pytest.raises(ArtifactError, match="no signature"):
            check({**receipt, **lacking}, tmp_path)
    (tmp_path / FOLDER / KEY).write_text('"half"')
    with pytest.raises(ArtifactError, match="not the key"):
        sign({"kind": "forget"}, tmp_path)
