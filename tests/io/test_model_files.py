"""Components on disk: identical after loading, refused when damaged or when base and heads do not belong together."""

import numpy as np
import pandas as pd
import pytest
import torch

from hydra_ml.errors import ArtifactError
from hydra_ml.io.model_files import load_base, load_heads, save_base, save_heads, shard_of_user
from hydra_ml.model.base import DualBase
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import Heads


def shared_part(seed=0):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    theta_0, weights = rng.normal(size=5).astype(np.float32), rng.normal(size=2).astype(np.float32)
    return SharedPart(DualBase(8, 4, 0.1).eval(), "residual", 4, theta_0, weights)


def bank(n_users, seed=0):
    table = np.random.default_rng(seed).normal(size=(n_users, 5)).astype(np.float32)
    return Heads("residual", 4, tuple(f"user {i}" for i in range(n_users)), table)


def test_a_base_comes_back_to_the_bit(tmp_path):
    shared = shared_part()
    digest = save_base(shared, tmp_path, {"task": "LaMP_2"})
    loaded, manifest = load_base(tmp_path, lambda: DualBase(8, 4, 0.1))
    assert manifest["digest"] == digest
    assert manifest["task"] == "LaMP_2"
    assert loaded.theta_0.tobytes() == shared.theta_0.tobytes()
    assert loaded.evidence_weights.tobytes() == shared.evidence_weights.tobytes()
    for name, tensor in shared.base.state_dict().items():
        assert torch.equal(tensor, loaded.base.state_dict()[name])


def test_heads_come_back_to_the_bit_from_one_shard_and_from_many(tmp_path, monkeypatch):
    for users_per_shard in (4096, 7):
        monkeypatch.setattr("hydra_ml.io.model_files.USERS_PER_SHARD", users_per_shard)
        folder = tmp_path / str(users_per_shard)
        heads = bank(50)
        save_heads(heads, folder, {"base_digest": "b"})
        loaded = load_heads(folder, base_digest="b")
        by_user = {user_id: row.tobytes() for user_id, row in zip(loaded.user_ids, loaded.table, strict=True)}
        assert by_user == {user_id: row.tobytes() for user_id, row in zip(heads.user_ids, heads.table, strict=True)}
        assert len(list(folder.glob("*.safetensors"))) == (1 if users_per_shard == 4096 else 8)


def test_user_order_does_not_change_a_byte_on_disk(tmp_path):
    heads = bank(20)
    order = np.random.default_rng(1).permutation(20)
    shuffled = Heads("residual", 4, tuple(heads.user_ids[i] for i in order), heads.table[order])
    save_heads(heads, tmp_path / "a", {"base_digest": "b"})
    save_heads(shuffled, tmp_path / "b", {"base_digest": "b"})
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_users_shard_is_the_same_on_every_machine():
    assert [shard_of_user(user, 64) for user in ("hpa000", "ann", "")] == [
        shard_of_user(u, 64) for u in ("hpa000", "ann", "")
    ]
    spread = pd.Series([shard_of_user(f"user {i}", 8) for i in range(4000)]).value_counts()
    assert spread.min() > 400


def test_heads_of_another_base_are_refused(tmp_path):
    save_heads(bank(3), tmp_path, {"base_digest": "old"})
    with pytest.raises(ArtifactError, match="fitted on base old, not on new"):
        load_heads(tmp_path, base_digest="new")


def test_an_edited_shard_is_refused(tmp_path):
    save_heads(bank(3), tmp_path, {"base_digest": "b"})
    shard = next(tmp_path.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ArtifactError, match="differs from its manifest"):
        load_heads(tmp_path, base_digest="b")
    shard.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_heads(tmp_path, base_digest="b")


def test_a_base_of_another_shape_is_refused_with_the_remedy(tmp_path):
    save_base(shared_part(), tmp_path, {})
    with pytest.raises(ArtifactError, match="does not fit params"):
        load_base(tmp_path, lambda: DualBase(8, 6, 0.1))


def test_a_missing_folder_says_what_to_run(tmp_path):
    with pytest.raises(ArtifactError, match="dvc repro"):
        load_base(tmp_path / "none", lambda: DualBase(8, 4, 0.1))
