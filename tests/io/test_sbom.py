"""What is installed: every pin has its digests, and the bill of materials names every package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.sbom import HASHED, LOCK, installed_packages, main, read_digests, read_pins

ROOT = Path(__file__).parents[2]


def test_every_pin_but_torchs_has_digests():
    pins, hashed = read_pins(ROOT / LOCK), read_pins(ROOT / HASHED)
    assert len(pins) > 200
    assert {name: version for name, version in pins.items() if name != "torch"} == hashed
    digests = read_digests(ROOT / HASHED)
    assert {name for name in hashed if not digests[name]} == set()
    assert len(digests["numpy"]) > 10, "of every platform's file"


def test_a_release_says_what_it_is_made_of(tmp_path, monkeypatch, capsys):
    (tmp_path / "hydra_ml-0.1.0-py3-none-any.whl").write_bytes(b"wheel")
    monkeypatch.chdir(ROOT)
    assert main([str(tmp_path)]) == 0
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {one["name"].lower(): one for one in bill["components"]}
    assert {"torch", "numpy", "prefect", "mlflow"} <= set(named)
    assert named["prefect"]["purl"] == f"pkg:pypi/prefect@{read_pins(ROOT / LOCK)['prefect']}"
    assert all(one["licenses"][0]["license"]["name"] for one in bill["components"])
    licences = (tmp_path / "licences.txt").read_text()
    assert len(licences.splitlines()) == len(bill["components"]) > 200
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0
    assert checked.stdout.count("OK") == 3
    assert f"{len(bill['components'])} packages" in capsys.readouterr().out


def test_another_version_than_the_pinned_one_is_told(tmp_path):
    (tmp_path / "lock").write_text("numpy==0.0.1\nno-such-package-here==1.0\n")
    with pytest.raises(DataError, match=r"numpy .* is installed, .* pins 0.0.1. Run `make setup`"):
        installed_packages(tmp_path / "lock", ROOT / HASHED)
    with pytest.raises(DataError, match="no such file"):
        installed_packages(tmp_path / "none", ROOT / HASHED)
