"""Great Expectations' Data Docs of what came in: one site below a folder, a page for each validation, newest first.

Pages hold counts, never values. They are made to open without a network: what they would load from elsewhere is taken
out and a small style sheet put in.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hydra_ml.io.expectations import new_context
from hydra_ml.io.tables import atomic_path

KEPT = 300  # validations; older ones leave the site
_STORE = ".validations"  # beside the pages: what they are rendered from
_SITE = "ingest"
_ELSEWHERE = re.compile(
    r"<link\b[^>]*\bhref=[\"']https?://[^>]*>"
    r"|<script\b[^>]*\bsrc=[\"']https?://[^>]*>\s*</script>"
    r"|<img\b[^>]*\bsrc=[\"']https?://[^>]*>"
    r"|@import url\([\"']?https?://[^)]*\);?"
    r"|background(?:-image)?:\s*url\([\"']?https?://[^)]*\)[^;}]*;?",
    re.IGNORECASE,
)
_STYLE = """<style id="offline">
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{border:1px solid #ddd;padding:.35rem .6rem;text-align:left}
.container,.container-fluid{width:100%}.row{display:flex;flex-wrap:wrap;gap:1rem}
.col-12,.col-lg-10,.col-md-10{flex:1 1 100%}
.breadcrumb,.list-unstyled,.nav{list-style:none;padding:0}.breadcrumb li{display:inline;margin-right:.5rem}
.collapse{display:block}.modal,.navbar-toggler,.ge-walkthrough{display:none}.card{border:1px solid #ddd;padding:1rem}
.badge{border-radius:.3rem;padding:.1rem .4rem}.badge-danger,.text-danger{color:#b00020}.text-success{color:#0a7d2c}
.mt-3,.mb-3{margin:1rem 0}a{color:#0b57d0}pre,code{white-space:pre-wrap}
</style>"""


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
        for page in self.folder.rglob("*.html"):
            _make_local(page)
        return self.folder / "index.html"


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


def _make_local(page: Path) -> None:
    """Take out of the page what a browser would fetch from elsewhere, and put the style sheet in, once."""
    text = page.read_text("utf-8")
    if 'id="offline"' in text:
        return
    text = _ELSEWHERE.sub("", text).replace("</head>", f"{_STYLE}</head>", 1)
    with atomic_path(page) as partial:
        partial.write_text(text, "utf-8")
