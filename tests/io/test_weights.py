"""Bases on disk: identical after loading, refused when damaged or of another shape."""

import numpy as np
import pytest
import torch

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.weights import load_base, save_base
from hydra_ml.model.base import DualBase
from hydra_ml.model.fit_base import SharedPart


def shared_part(seed=0):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    theta_0, prior = rng.normal(size=6).astype(np.float32), rng.random(6, dtype=np.float32)
    return SharedPart(DualBase(8, 4, 0.1).eval(), "residual", 6, theta_0, prior)


def test_a_base_comes_back_to_the_bit(tmp_path):
    shared = shared_part()
    digest = save_base(shared, tmp_path, {"task": "LaMP_2"})
    loaded, manifest = load_base(tmp_path, lambda: DualBase(8, 4, 0.1))
    assert manifest["digest"] == digest
    assert manifest["task"] == "LaMP_2"
    assert loaded.theta_0.tobytes() == shared.theta_0.tobytes()
    assert loaded.prior.tobytes() == shared.prior.tobytes()
    for name, tensor in shared.base.state_dict().items():
        assert torch.equal(tensor, loaded.base.state_dict()[name])


def test_an_edited_base_is_refused(tmp_path):
    save_base(shared_part(), tmp_path, {})
    path = tmp_path / "base.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="differs from its manifest"):
        load_base(tmp_path, lambda: DualBase(8, 4, 0.1))


def test_a_base_of_another_shape_is_refused_with_the_remedy(tmp_path):
    save_base(shared_part(), tmp_path, {})
    with pytest.raises(ArtifactError, match="does not fit params"):
        load_base(tmp_path, lambda: DualBase(8, 6, 0.1))


def test_a_missing_folder_says_what_to_run(tmp_path):
    with pytest.raises(ArtifactError, match="dvc repro"):
        load_base(tmp_path / "none", lambda: DualBase(8, 4, 0.1))


def test_a_base_of_an_earlier_version_is_refused_in_one_line_with_the_remedy(tmp_path):
    save_base(shared_part(), tmp_path, {})
    manifest = load_json(tmp_path / "manifest.json")
    save_json({**manifest, "schema_version": 1}, tmp_path / "manifest.json")
    with pytest.raises(ArtifactError, match=r"base of schema 1; this version reads 2\. Train it anew with `dvc repro`"):
        load_base(tmp_path, lambda: DualBase(8, 4, 0.1))
