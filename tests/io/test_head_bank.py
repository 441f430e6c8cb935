"""Head banks on disk: identical after loading, lazily read, updated shard by shard, refused when damaged or foreign."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.head_bank import HeadBank, rewrite_bank, save_heads, update_bank
from hydra_ml.model.heads import Heads
from hydra_ml.records import shard_of_user


def heads_of(names, seed=0):
    table = np.random.default_rng(seed).normal(size=(len(names), 5)).astype(np.float32)
    return Heads("residual", 5, tuple(names), table)


def bank(n_users, seed=0):
    return heads_of([f"user {i}" for i in range(n_users)], seed)


def by_user(heads):
    return {user_id: row.tobytes() for user_id, row in zip(heads.user_ids, heads.table, strict=True)}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("hydra_ml.io.head_bank.USERS_PER_SHARD", 7)


def test_heads_come_back_to_the_bit_from_one_shard_and_from_many(tmp_path, monkeypatch):
    for users_per_shard in (4096, 7):
        monkeypatch.setattr("hydra_ml.io.head_bank.USERS_PER_SHARD", users_per_shard)
        folder, heads = tmp_path / str(users_per_shard), bank(50)
        save_heads(heads, folder, {"base_digest": "b"})
        opened = HeadBank(folder, base_digest="b")
        assert by_user(opened.heads_of(heads.user_ids)) == by_user(heads)
        assert opened.n_users == 50
        assert set(opened.user_ids()) == set(heads.user_ids)
        assert len(list(folder.glob("*.safetensors"))) == (1 if users_per_shard == 4096 else 8)


def test_ids_of_any_script_and_length_are_told_apart(tmp_path):
    heads = heads_of(["a", "ab", "ä", "用户", "a b/c", "A"])
    save_heads(heads, tmp_path, {"base_digest": "b"})
    assert by_user(HeadBank(tmp_path, base_digest="b").heads_of(["用户", "ab", "nobody"])) == {
        name: row for name, row in by_user(heads).items() if name in ("用户", "ab")
    }


IDS = [
    "a",
    "ab",
    "abc",
    "b",
    "a b/c",
    "A",
    "ä",
    "äb",
    "é",
    "e\u0301",
    "用户",
    "用户2",
    "🙂",
    "\uffff",
    "a\0b",
    "\0a",
    "",
    "~" * 40,
]


@pytest.mark.parametrize("users_per_shard", [1024, 3])
def test_every_id_is_found_by_itself_whatever_the_others_are(tmp_path, monkeypatch, users_per_shard):
    monkeypatch.setattr("hydra_ml.io.head_bank.USERS_PER_SHARD", users_per_shard)
    for left_out in IDS:  # the neighbour it would be taken for is there
        folder, others = tmp_path / str(IDS.index(left_out)), [name for name in IDS if name != left_out]
        save_heads(heads_of(others), folder, {"base_digest": "b"})
        opened = HeadBank(folder, base_digest="b")
        assert by_user(opened.heads_of([*IDS, left_out + "x", "zz" * 50])) == by_user(heads_of(others))
        assert opened.heads_of([left_out]).user_ids == ()
        assert sorted(opened.user_ids()) == sorted(others)


def test_an_id_that_ends_in_nul_is_refused_and_found_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"'a\\x00' ends in NUL"):
        save_heads(heads_of(["a\0"]), tmp_path / "0", {"base_digest": "b"})
    save_heads(heads_of(["a"]), tmp_path / "1", {"base_digest": "b"})
    old = HeadBank(tmp_path / "1", base_digest="b")
    assert old.heads_of(["a\0"]).user_ids == ()
    with pytest.raises(DataError, match="ends in NUL"):
        update_bank(old, heads_of(["a\0"]), tmp_path / "2", old_version="1", manifest={"base_digest": "b"})


def test_found_heads_are_sorted_by_shard_and_id_each_once(tmp_path, small_shards):
    save_heads(bank(50), tmp_path, {"base_digest": "b"})
    found = HeadBank(tmp_path, base_digest="b").heads_of(["user 9", "user 1", "nobody", "user 9", *bank(50).user_ids])
    assert list(found.user_ids) == sorted(bank(50).user_ids, key=lambda name: (shard_of_user(name, 8), name))


def test_an_updated_bank_has_the_bytes_of_one_saved_whole(tmp_path, small_shards):
    before = heads_of([f"user {i}" for i in range(52)] + ["ü" * 30, "用户", "user"])
    save_heads(before, tmp_path / "1", {"base_digest": "b"})
    changed, gone = heads_of(["user 3", "user 33", "new", "用户"], seed=9), ["ü" * 30, "user 4", "user 33", "unknown"]
    expected = {name: row for name, row in (by_user(before) | by_user(changed)).items() if name not in gone}
    old = HeadBank(tmp_path / "1", base_digest="b")
    update_bank(old, changed, tmp_path / "2", old_version="1", manifest={"base_digest": "b"}, removed=gone)
    rows = np.stack([np.frombuffer(row, dtype=np.float32) for row in expected.values()])
    save_heads(Heads("residual", 5, tuple(expected), rows), tmp_path / "3", {"base_digest": "b"})
    whole, updated = HeadBank(tmp_path / "3", base_digest="b"), HeadBank(tmp_path / "2", base_digest="b")
    assert len(whole.shards) == len(updated.shards)
    touched = [shard for shard in updated.shards if not shard.version]
    assert touched
    for shard in touched:
        assert (tmp_path / "2" / shard.file).read_bytes() == (tmp_path / "3" / shard.file).read_bytes()


def test_the_bytes_on_disk_are_those_of_earlier_versions_of_this_software(tmp_path):
    heads = Heads("residual", 5, ("b", "ä", "ab"), np.arange(15, dtype=np.float32).reshape(3, 5))
    save_heads(heads, tmp_path, {"base_digest": "b"})
    assert HeadBank(tmp_path, base_digest="b").shards[0].digest == "4fff0b6d848bbe233fec8ad6ce3719a9"


def test_an_empty_bank_knows_nobody(tmp_path):
    save_heads(bank(0), tmp_path, {"base_digest": "b"})
    opened = HeadBank(tmp_path, base_digest="b")
    assert opened.heads_of(["user 1"]).table.shape == (0, 5)
    assert opened.user_ids() == []


def test_user_order_does_not_change_a_byte_on_disk(tmp_path):
    heads = bank(20)
    order = np.random.default_rng(1).permutation(20)
    shuffled = Heads("residual", 5, tuple(heads.user_ids[i] for i in order), heads.table[order])
    save_heads(heads, tmp_path / "a", {"base_digest": "b"})
    save_heads(shuffled, tmp_path / "b", {"base_digest": "b"})
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_users_spread_evenly_over_shards():
    spread = pd.Series([shard_of_user(f"user {i}", 8) for i in range(4000)]).value_counts()
    assert spread.min() > 400
    assert shard_of_user("hpa000", 64) == 53  # stored banks depend on it: must never change


def test_heads_of_another_base_are_refused(tmp_path):
    save_heads(bank(3), tmp_path, {"base_digest": "old"})
    with pytest.raises(ArtifactError, match="fitted on base old, not on new"):
        HeadBank(tmp_path, base_digest="new")


def test_an_edited_or_missing_shard_is_refused_when_it_is_needed(tmp_path):
    save_heads(bank(3), tmp_path, {"base_digest": "b"})
    shard = next(tmp_path.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ArtifactError, match="content differs"):
        HeadBank(tmp_path, base_digest="b").heads_of(["user 1"])
    shard.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        HeadBank(tmp_path, base_digest="b").heads_of(["user 1"])


def test_a_shard_edited_after_it_was_read_is_refused(tmp_path):
    save_heads(bank(3), tmp_path, {"base_digest": "b"})
    opened, shard = HeadBank(tmp_path, base_digest="b"), next(tmp_path.glob("*.safetensors"))
    first, second = opened.heads_of(["user 1"]), opened.heads_of(["user 1"])
    assert first.table.tobytes() == second.table.tobytes()
    content, read_at = bytearray(shard.read_bytes()), shard.stat().st_mtime_ns
    content[-1] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(read_at + 10**9, read_at + 10**9))  # whatever the file system's clock resolves
    with pytest.raises(ArtifactError, match="content differs"):
        opened.heads_of(["user 1"])


def test_an_update_writes_the_touched_shards_alone_and_shares_the_others(tmp_path, small_shards):
    save_heads(bank(50), tmp_path / "1", {"base_digest": "b"})
    old = HeadBank(tmp_path / "1", base_digest="b")
    changed = heads_of(["user 3", "someone new"], seed=9)
    touched = update_bank(old, changed, tmp_path / "2", old_version="1", manifest={"base_digest": "b"})
    assert touched == sorted({shard_of_user("user 3", 8), shard_of_user("someone new", 8)})
    assert len(list((tmp_path / "2").glob("*.safetensors"))) == len(touched)

    new = HeadBank(tmp_path / "2", base_digest="b", folder_of=lambda version: tmp_path / version)
    expected = by_user(bank(50)) | by_user(changed)
    assert by_user(new.heads_of(expected)) == expected
    assert new.n_users == 51
    untouched = [i for i in range(8) if i not in touched]
    assert [new.shards[i].digest for i in untouched] == [old.shards[i].digest for i in untouched]


def test_a_second_update_still_finds_the_shards_of_the_first_version(tmp_path, small_shards):
    save_heads(bank(50), tmp_path / "1", {"base_digest": "b"})
    folder_of = lambda version: tmp_path / version  # noqa: E731
    for version, name in (("2", "user 3"), ("3", "user 4")):
        before = str(int(version) - 1)
        old = HeadBank(tmp_path / before, base_digest="b", folder_of=folder_of)
        update_bank(old, heads_of([name]), tmp_path / version, old_version=before, manifest={"base_digest": "b"})
    newest = HeadBank(tmp_path / "3", base_digest="b", folder_of=folder_of)
    assert by_user(newest.heads_of(["user 3"])) == by_user(heads_of(["user 3"]))
    assert {shard.version for shard in newest.shards} == {"", "1", "2"}


def test_a_removed_user_is_gone_and_the_others_stay(tmp_path, small_shards):
    save_heads(bank(50), tmp_path / "1", {"base_digest": "b"})
    old = HeadBank(tmp_path / "1", base_digest="b")
    nobody = Heads("residual", 5, (), np.zeros((0, 5), dtype=np.float32))
    update_bank(old, nobody, tmp_path / "2", old_version="1", manifest={"base_digest": "b"}, removed=["user 3"])
    new = HeadBank(tmp_path / "2", base_digest="b", folder_of=lambda version: tmp_path / version)
    expected = {name: row for name, row in by_user(bank(50)).items() if name != "user 3"}
    assert by_user(new.heads_of([f"user {i}" for i in range(50)])) == expected


def test_a_shared_shard_without_the_registry_says_where_it_is(tmp_path, small_shards):
    save_heads(bank(50), tmp_path / "1", {"base_digest": "b"})
    update_bank(
        HeadBank(tmp_path / "1", base_digest="b"),
        heads_of(["user 3"]),
        tmp_path / "2",
        old_version="1",
        manifest={"base_digest": "b"},
    )
    elsewhere = next(f"user {i}" for i in range(50) if shard_of_user(f"user {i}", 8) != shard_of_user("user 3", 8))
    with pytest.raises(ArtifactError, match="held by registered version 1"):
        HeadBank(tmp_path / "2", base_digest="b").heads_of([elsewhere])


PEAK = """
import sys, tracemalloc
from pathlib import Path
from hydra_ml.io.head_bank import HeadBank
opened = HeadBank(Path(sys.argv[1]), base_digest="b")
tracemalloc.start()
assert len(opened.heads_of(sys.argv[2:]).user_ids) == len(opened.shards)
print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_follows_the_users_asked_for_not_the_bank(tmp_path, monkeypatch):
    monkeypatch.setattr("hydra_ml.io.head_bank.USERS_PER_SHARD", 256)
    peaks = {}
    for n_users in (2_560, 25_600):  # 10 and 100 shards, every one of them read
        names = [f"user {i}" for i in range(n_users)]
        heads = Heads("residual", 65, tuple(names), np.zeros((n_users, 65), dtype=np.float32))
        save_heads(heads, tmp_path, {"base_digest": "b"})
        n_shards = len(HeadBank(tmp_path, base_digest="b").shards)
        some = [next(name for name in names if shard_of_user(name, n_shards) == shard) for shard in range(n_shards)]
        # In a process of its own: threads that other tests left allocate too.
        reading = [sys.executable, "-c", PEAK, str(tmp_path), *some]
        peaks[n_users] = int(subprocess.run(reading, check=True, capture_output=True, text=True).stdout)
    assert peaks[25_600] < 2 * peaks[2_560]


def test_a_user_goes_from_a_bank_in_place_and_others_shards_and_heads_are_the_same_bytes(tmp_path, small_shards):
    heads = bank(50)
    save_heads(heads, tmp_path, {"base_digest": "b"})
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    rewrite_bank(tmp_path, ["user 7", "nobody"])
    now = HeadBank(tmp_path, base_digest="b")
    assert by_user(now.heads_of(heads.user_ids)) == {
        name: row for name, row in by_user(heads).items() if name != "user 7"
    }
    assert now.n_users == 49
    changed = {name for name, content in before.items() if (tmp_path / name).read_bytes() != content}
    assert [int(name[6:11]) for name in changed] == [shard_of_user("user 7", len(before))]
    assert not any(b"user 7\0" in path.read_bytes() for path in tmp_path.iterdir())
    given = heads_of(["user 7"], seed=1)
    rewrite_bank(tmp_path, [], given=given)
    assert by_user(HeadBank(tmp_path, base_digest="b").heads_of(["user 7"])) == by_user(given)


def test_a_bank_that_a_kill_left_half_rewritten_is_refused_and_then_completed(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        save_heads(bank(5), folder, {"base_digest": "b"})
    rewrite_bank(new, ["user 3"])
    (file,) = [path.name for path in new.glob("*.safetensors")]
    (old / f".{file}.fresh").write_bytes((new / file).read_bytes())
    (old / "manifest.json").write_bytes((new / "manifest.json").read_bytes())  # killed before the shard was renamed
    with pytest.raises(ArtifactError, match="content differs"):
        HeadBank(old, base_digest="b").heads_of(["user 1"])
    rewrite_bank(old, ["user 3"])
    assert {path.name: path.read_bytes() for path in old.iterdir()} == {
        path.name: path.read_bytes() for path in new.iterdir()
    }
