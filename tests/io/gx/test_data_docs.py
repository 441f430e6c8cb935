"""The site of Data Docs: grows by a page a validation, shows no value, asks nothing of the network, mends itself."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.io.gx import data_docs
from hydra_ml.io.gx.data_docs import DataDocs
from hydra_ml.io.gx.expectations import Check, bad_rows

CHECKS = [Check("a is fine", "a", "ExpectColumnValuesToBeInSet", {"value_set": ["fine"]})]


def validated(folder: Path, run_name: str) -> Path:
    docs = DataDocs(folder)
    table = pd.DataFrame({"a": ["fine", "a secret text"]})
    assert bad_rows("LaMP_2 records", table, CHECKS, context=docs.context, run_name=run_name) == [[1]]
    return docs.publish()


def pages(folder: Path) -> list[str]:
    return sorted(page.parts[-3] for page in folder.glob("validations/**/*.html"))


def test_the_site_grows_and_mends_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = validated(tmp_path, "first")
    assert index == tmp_path / "index.html"
    old = next(tmp_path.glob("validations/*/first/*/*.html"))
    written = old.stat().st_mtime_ns
    validated(tmp_path, "second")
    assert pages(tmp_path) == ["first", "second"]
    assert old.stat().st_mtime_ns == written  # rendered once
    assert all(name in index.read_text() for name in ("first", "second"))

    whole = "".join(page.read_text() for page in tmp_path.rglob("*.html"))
    assert "must belong to this set" in whole
    everything = b"".join(
        file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and "assets" not in file.parts
    )
    assert b"secret" not in everything
    fetched = re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=[\"']https?:[^>]*", whole)
    assert fetched == []
    assert "url(http" not in whole
    local = re.findall(r"<(?:script|link)\b[^>]*(?:src|href)=[\"']([^\"']*assets/[^\"']*)", old.read_text())
    assert {Path(at).name for at in local} >= {"bootstrap.min.css", "bootstrap-table.min.js", "jquery.min.js"}
    assert all((old.parent / at).resolve().is_file() for at in local), "scripts that fill the tables lie in the site"
    assert "Data asset: first" in old.read_text()
    assert [page.parts[-3] for page in DataDocs(tmp_path).pages("first")] == ["first"]

    stored = next(tmp_path.glob(".validations/**/first/**/*.json"))
    stored.write_bytes(stored.read_bytes()[:50])  # as a kill or a full disk would leave it
    monkeypatch.setattr(data_docs, "KEPT", 2)
    validated(tmp_path, "third")
    assert pages(tmp_path) == ["second", "third"]
    validated(tmp_path, "fourth")
    assert pages(tmp_path) == ["fourth", "third"]
