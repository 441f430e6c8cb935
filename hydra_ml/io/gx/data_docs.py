"""Great Expectations' Data Docs of what came in: one site below a folder, a page for each validation, newest first.

Pages hold counts, never values. They open without a network: what Great Expectations would fetch from elsewhere lies in
the site itself (`docs_assets`), and what is only decoration is taken out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from glob import escape as escape_glob
from html import escape
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from hydra_ml.io.files import atomic_path
from hydra_ml.io.gx.expectations import new_context

KEPT = 300  # validations; older ones leave the site
ASSETS = "assets"  # folder of the site with style sheets and scripts
_STORE = ".validations"  # beside the pages: what they are rendered from
_SITE = "ingest"
# What pages ask of other addresses, and the file of `docs_assets` that is given instead; None: decoration, left out.
_INSTEAD = {
    r"bootstrap-table(-filter-control)?(\.min)?\.(css|js)$": r"bootstrap-table\1.min.\3",
    r"bootstrap-datepicker(\.min)?\.(css|js)$": r"bootstrap-datepicker.min.\2",
    r"bootstrap(\.min)?\.css$": "bootstrap.min.css",
    r"bootstrap(\.min)?\.js$": "bootstrap.bundle.min.js",  # with popper in it
    r"jquery-[\d.]+\.min\.js$": "jquery.min.js",
    r"font-awesome/.*\.css$": "icons.css",
}
_FETCHED = re.compile(
    r"<link\b[^>]*\bhref=[\"'](?P<style>https?://[^\"']*)[\"'][^>]*>"
    r"|<script\b[^>]*\bsrc=[\"'](?P<script>https?://[^\"']*)[\"'][^>]*>\s*</script>"
    r"|<img\b[^>]*\bsrc=[\"']https?://[^>]*>"
    r"|@import url\([\"']?https?://[^)]*\);?"
    r"|background(?:-image)?:\s*url\([\"']?https?://[^)]*\)[^;}]*;?",
    re.IGNORECASE,
)
_MARK = '<meta name="offline" content="hydra_ml">'


class DataDocs:
    """The site of a folder, open for one run; not to be opened twice at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for stored in (folder / _STORE).rglob("*.json"):
            _drop_if_cut_off(stored)
        self.context = new_context(_config(folder))  # for `expectations.bad_rows`

    def publish(self) -> Path:
        """Render what was validated since the last time; the path of the site's index.html."""
        store = self.context.validation_results_store
        results = sorted(store.list_keys(), key=lambda key: key.run_id.run_time, reverse=True)
        for old in results[KEPT:]:
            store.remove_key(old)
        rendered = {page.parts[-4:-1] for page in self.folder.glob("validations/*/*/*/*.html")}
        fresh = [key for key in results[:KEPT] if key.to_tuple()[:-1] not in rendered]  # suite, run's name and time
        suites = self.context.expectations_store.list_keys()
        self.context.build_data_docs(site_names=[_SITE], resource_identifiers=[*fresh, *suites])
        _put_assets(self.folder / ASSETS)
        for page in self.folder.rglob("*.html"):
            _make_local(page, os.path.relpath(self.folder / ASSETS, page.parent))
        return self.folder / "index.html"

    def pages(self, run_name: str) -> list[Path]:
        """The pages of one run's validations, those with failures first."""
        found = sorted(self.folder.glob(f"validations/*/{escape_glob(run_name)}/*/*.html"))
        return sorted(found, key=lambda page: "fa-times text-danger" not in page.read_text("utf-8"))


def _drop_if_cut_off(stored: Path) -> None:
    """Remove a stored document that a kill or a full disk left half-written: Great Expectations would stop at it."""
    try:
        json.loads(stored.read_bytes())
    except (ValueError, RecursionError):
        stored.unlink()


def _config(folder: Path) -> Any:
    """A context whose validations and pages lie in the folder, and all else in memory."""
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    def on_disk(place: Path) -> dict[str, Any]:
        return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(place.absolute())}

    memory = InMemoryStoreBackendDefaults()
    stores = dict(memory.stores)
    for name in (memory.expectations_store_name, memory.validation_results_store_name):
        backend = {**on_disk(folder / _STORE / name), "filepath_suffix": ".json"}
        stores[name] = {"class_name": stores[name]["class_name"], "store_backend": backend}
    site = {
        "class_name": "SiteBuilder",
        "store_backend": on_disk(folder),
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "site_section_builders": {"profiling": "None"},
        "show_how_to_buttons": False,
    }
    return DataContextConfig(
        stores=stores,
        expectations_store_name=memory.expectations_store_name,
        validation_results_store_name=memory.validation_results_store_name,
        checkpoint_store_name=memory.checkpoint_store_name,
        data_docs_sites={_SITE: site},
        analytics_enabled=False,
    )


def _put_assets(folder: Path) -> None:
    """Copy the style sheets and scripts that lack into the site."""
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("hydra_ml.io.gx").joinpath("docs_assets")) as bundled:
        for source in bundled.iterdir():
            if not (folder / source.name).exists():
                with atomic_path(folder / source.name) as partial:
                    shutil.copyfile(source, partial)


def _make_local(page: Path, assets: str) -> None:
    """Have the page take from the site what it would fetch from elsewhere, once. assets: where that lies, seen from
    the page."""
    text = page.read_text("utf-8")
    if _MARK in text:
        return

    def local(found: re.Match[str]) -> str:
        """The same element with the site's own file; nothing where that is decoration."""
        for pattern, name in _INSTEAD.items():
            for kind in ("style", "script"):
                if at := re.search(pattern, found[kind] or ""):
                    file = f"{assets}/{at.expand(name)}"
                    return (
                        f'<link rel="stylesheet" href="{file}">'
                        if kind == "style"
                        else f'<script src="{file}"></script>'
                    )
        return ""

    text = _FETCHED.sub(local, text).replace("</head>", f"{_MARK}</head>", 1)
    if (
        "validations" in page.parts[:-4]
    ):  # suite, run's name, time, batch: Great Expectations knows no asset's name here
        text = text.replace("Data asset: None", f"Data asset: {escape(page.parts[-3])}", 1)
    with atomic_path(page) as partial:
        partial.write_text(text, "utf-8")
