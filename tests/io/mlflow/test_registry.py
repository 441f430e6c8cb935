"""The registry on a real MLflow store."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import save_json
from hydra_ml.io.head_bank import HeadBank, save_heads, update_bank
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.mlflow.tracking import Tracking
from hydra_ml.model.heads import Heads
from hydra_ml.release import PARTS, ComponentRef, Release
from hydra_ml.tasks import get_task
from tests.servers import free_port, wait_for

TASK = get_task("LaMP_2")
PARAMS = {"llm": {"model": "offline-minilm"}, "seed": 1}


def heads_of(users: dict[str, float]) -> Heads:
    table = np.array([[value] * 3 for value in users.values()], dtype=np.float32)
    return Heads("residual", 3, tuple(users), table)


def base_folder(folder: Path, digest: str) -> Path:
    """A base's folder as the registry sees it: its manifest and a file it names."""
    folder.mkdir(parents=True)
    (folder / "base.safetensors").write_bytes(digest.encode())
    save_json({"digest": digest, "width": 2, "fit": {"epochs": 3}}, folder / "manifest.json")
    return folder


def heads_folder(folder: Path, users: dict[str, float], base_digest: str) -> Path:
    save_heads(heads_of(users), folder, {"base_digest": base_digest, "fit": {"ridge": 3.0}})
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(root) -> Registry:
    return Registry(f"sqlite:///{root / '.mlflow' / 'mlflow.db'}", cache=root / ".cache")


@pytest.fixture(scope="module")
def run_id(registry) -> str:
    with Tracking(registry.uri).start(TASK, "test", job="nightly", params=PARAMS) as run:
        return run.run_id


@pytest.fixture
def refs(registry, run_id, tmp_path) -> dict[str, ComponentRef]:
    """All four parts, registered; their bytes are this test's own, so that damage stays with it."""
    found = {}
    for component in ("reranker", "adapter"):
        digest = f"{component} of {tmp_path.name} {tmp_path.parent.name}"
        folders = {
            "base": base_folder(tmp_path / component / "base", digest),
            "heads": heads_folder(tmp_path / component / "heads", {"u1": 1.0, "u2": 2.0}, digest),
        }
        for half, folder in folders.items():
            part = f"{component}.{half}"
            found[part] = registry.register_component(TASK, part, folder, run_id=run_id, metrics={"m": 0.5})
    return found


def release_of(refs: dict[str, ComponentRef], made_at: str = "2026-11-20T00:00:00+00:00") -> Release:
    return Release(TASK.folder, refs, "abc.dir", ("d1",), PARAMS, "c0ffee", "nightly", made_at, True)


def test_a_release_comes_back_as_it_was_registered(registry, refs, run_id):
    release = release_of(refs)
    version = registry.register_release(TASK, release, run_id=run_id)
    registry.point(TASK, {"champion": version})
    assert registry.release(TASK, "champion") == (version, release)
    assert registry.release(TASK, version) == (version, release)
    tags = registry.release_tags(TASK, version)
    assert {part: tags[part] for part in PARTS} == {part: ref.version for part, ref in refs.items()}
    assert (tags["data_version"], tags["llm"], tags["validated"]) == ("abc.dir", "offline-minilm", "true")


def test_a_component_comes_back_without_a_copy_and_its_bank_opens(registry, refs):
    folder = registry.fetch(TASK, refs["adapter.base"])
    assert folder.is_relative_to(Path(registry.uri.removeprefix("sqlite:///")).parent)
    digest = f"adapter of {(folder / 'base.safetensors').read_bytes().decode().removeprefix('adapter of ')}"
    bank = registry.open_bank(TASK, refs["adapter.heads"], base_digest=digest)
    assert bank.heads_of(["u2"]).table.tolist() == [[2.0, 2.0, 2.0]]
    with pytest.raises(ArtifactError, match="fitted on base"):
        registry.open_bank(TASK, refs["adapter.heads"], base_digest="another")


def test_the_same_bytes_are_one_version_whoever_registers_them_again(registry, refs, run_id, tmp_path):
    again = registry.register_component(TASK, "adapter.base", tmp_path / "adapter" / "base", run_id=run_id)
    assert again == refs["adapter.base"]
    shutil.rmtree(registry.fetch(TASK, again))  # a damaged version is not taken up again
    anew = registry.register_component(TASK, "adapter.base", tmp_path / "adapter" / "base", run_id=run_id)
    assert anew.version != again.version
    assert anew.digest == again.digest


def test_the_registry_shows_what_a_version_is_without_its_files(registry, refs, run_id):
    facts = registry.version(TASK, "adapter.heads", refs["adapter.heads"].version)
    assert facts.run_id == run_id
    assert facts.tags["n_users"] == "2"
    assert facts.tags["base_digest"].startswith("adapter of")
    assert registry.versions(TASK, "adapter.heads")[0] == facts


def test_an_updated_bank_registers_the_touched_shards_alone_and_reads_the_others_where_they_are(
    registry, run_id, tmp_path
):
    users = {f"user {i}": float(i) for i in range(3000)}
    first = heads_folder(tmp_path / "first", users, "base 1")
    old = registry.register_component(TASK, "adapter.heads", first, run_id=run_id)
    bank = registry.open_bank(TASK, old, base_digest="base 1")
    new_folder = tmp_path / "second"
    manifest = {"base_digest": "base 1"}
    touched = update_bank(bank, heads_of({"user 7": -7.0}), new_folder, old_version=old.version, manifest=manifest)
    assert len(touched) == 1
    new = registry.register_component(TASK, "adapter.heads", new_folder, run_id=run_id)
    stored = registry.fetch(TASK, new)
    assert len(list(stored.glob("*.safetensors"))) == 1
    again = registry.open_bank(TASK, new, base_digest="base 1")
    assert again.n_users == 3000
    found = again.heads_of(users)
    values = dict(zip(found.user_ids, found.table[:, 0].tolist(), strict=True))
    assert values == users | {"user 7": -7.0}
    # And on, from a version that itself holds one shard only.
    third = tmp_path / "third"
    update_bank(again, heads_of({"user 8": -8.0}), third, old_version=new.version, manifest=manifest)
    last = registry.register_component(TASK, "adapter.heads", third, run_id=run_id)
    heads = registry.open_bank(TASK, last, base_digest="base 1").heads_of(["user 7", "user 8", "user 9"])
    assert dict(zip(heads.user_ids, heads.table[:, 0].tolist(), strict=True)) == {
        "user 7": -7.0,
        "user 8": -8.0,
        "user 9": 9.0,
    }


def test_heads_of_another_base_make_no_release(registry, refs, run_id, tmp_path):
    strange = heads_folder(tmp_path / "strange", {"u1": 1.0}, "a base nobody has")
    ref = registry.register_component(TASK, "adapter.heads", strange, run_id=run_id)
    with pytest.raises(ArtifactError, match="heads were fitted on base a base nobody has, not on"):
        registry.register_release(TASK, release_of(refs | {"adapter.heads": ref}), run_id=run_id)


def test_a_tampered_component_is_refused(registry, refs, run_id):
    folder = registry.fetch(TASK, refs["reranker.heads"])
    with (folder / "manifest.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ArtifactError, match=r"manifest\.json has digest .* altered.*hydra-ml rollback"):
        registry.fetch(TASK, refs["reranker.heads"])
    with pytest.raises(ArtifactError, match="altered"):
        registry.register_release(TASK, release_of(refs), run_id=run_id)


def test_a_tampered_shard_is_refused_when_it_is_read(registry, refs):
    folder = registry.fetch(TASK, refs["adapter.heads"])
    digest = HeadBank(folder, base_digest=refs_base(folder)).manifest["base_digest"]
    shard = next(folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="content differs"):
        registry.open_bank(TASK, refs["adapter.heads"], base_digest=digest).heads_of(["u1"])


def refs_base(folder: Path) -> str:
    import json

    return str(json.loads((folder / "manifest.json").read_text())["base_digest"])


def test_a_tampered_release_is_refused(registry, refs, run_id):
    version = registry.register_release(TASK, release_of(refs), run_id=run_id)
    source = registry.version(TASK, "release", version).source.removeprefix("models:/")
    file = next(Path(registry.uri.removeprefix("sqlite:///")).parent.glob(f"**/{source}/artifacts/**/release.json"))
    file.write_text(file.read_text().replace('"validated": true', '"validated": false'))
    with pytest.raises(ArtifactError, match=rf"version {version}: .*release\.json is not what was registered"):
        registry.release(TASK, version)
    file.unlink()
    with pytest.raises(ArtifactError, match=r"release\.json is missing.*hydra-ml rollback"):
        registry.release(TASK, version)


def test_what_is_not_there_is_said_with_the_remedy(registry, refs):
    other = get_task("LaMP_3")
    assert registry.aliases(other) == {}
    assert registry.versions(other, "release") == []
    with pytest.raises(ArtifactError, match=r"lamp-3\.release: no release is 'champion' .* there are: none.*nightly"):
        registry.release(other, "champion")
    with pytest.raises(ArtifactError, match=r"lamp-3\.release: there is no version 9"):
        registry.release(other, "9")
    with pytest.raises(ArtifactError, match="'chmpion' is neither"):
        registry.release(TASK, "chmpion")
    with pytest.raises(ArtifactError, match="there is no version 9999"):
        registry.fetch(TASK, dataclasses.replace(refs["adapter.base"], version="9999"))


def test_files_that_are_gone_are_missed(registry, refs):
    shutil.rmtree(registry.fetch(TASK, refs["adapter.base"]))
    with pytest.raises(ArtifactError, match=r"its files at .* are gone"):
        registry.fetch(TASK, refs["adapter.base"])


def test_aliases_move_and_vanish(registry, refs, run_id):
    one = registry.register_release(TASK, release_of(refs), run_id=run_id)
    two = registry.register_release(TASK, release_of(refs, "2026-11-21T00:00:00+00:00"), run_id=run_id)
    registry.point(TASK, {"previous": one, "champion": two, "challenger": two})
    assert registry.aliases(TASK) == {"previous": one, "champion": two, "challenger": two}
    registry.point(TASK, {"challenger": None, "champion": one})
    registry.point(TASK, {"challenger": None})  # gone already
    assert registry.aliases(TASK) == {"previous": one, "champion": one}
    registry.tag_release(TASK, two, {"gate": "refused"})
    assert registry.release_tags(TASK, two)["gate"] == "refused"
    with pytest.raises(ArtifactError, match="cannot move champion of"):
        registry.point(TASK, {"champion": "9999"})


def test_many_at_once_leave_one_alias(registry, refs, run_id):
    versions = [registry.register_release(TASK, release_of(refs), run_id=run_id) for _ in range(2)]
    registry.point(TASK, {"champion": None})
    failures: list[BaseException] = []

    def move(version: str) -> None:
        try:
            Registry(registry.uri).point(TASK, {"champion": version})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=move, args=(version,)) for version in versions * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert registry.aliases(TASK)["champion"] in versions


def test_a_dead_server_is_an_error_within_seconds():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://user:secret@127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=r"MLflow at http://127\.0\.0\.1:\d+ cannot be opened: .*make up") as caught:
        Registry(uri)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 120, "MLflow's own client would try for minutes"


def test_a_store_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be opened"):
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_a_store_on_another_machine_is_copied_once_and_a_spoilt_copy_fetched_anew(tmp_path, registry):
    """A server that hands files out itself, as one with an object store does: nothing of it is on this disk."""
    port = free_port()
    shutil.copy(registry.uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")  # tables are made already
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "kept")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            remote = Registry(f"http://127.0.0.1:{port}", cache=tmp_path / ".cache")
            task = get_task("LaMP_4")  # an experiment that this server made itself
            with Tracking(remote.uri).start(task, "remote", job="nightly", params=PARAMS) as run:
                made = heads_folder(tmp_path / "heads", {"u1": 1.0}, "base 1")
                ref = remote.register_component(task, "adapter.heads", made, run_id=run.run_id)
            folder = remote.fetch(task, ref)
            assert folder.is_relative_to(tmp_path / ".cache")
            assert remote.fetch(task, ref) == folder
            (folder / "manifest.json").write_text("{}")
            heads = remote.open_bank(task, ref, base_digest="base 1").heads_of(["u1"])
            assert heads.table.tolist() == [[1.0, 1.0, 1.0]]
            assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        finally:
            os.killpg(server.pid, signal.SIGTERM)
