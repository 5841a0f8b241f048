"""The disk cache believes nothing: wrong folders, wrong entries, several processes, its bound."""

import multiprocessing
import os
import subprocess
import sys
import warnings

import pytest

from gristmill.codegen import cache
from gristmill.codegen.cache import Cache

KEY = cache.key("entry")
OTHER = cache.key("other")


@pytest.fixture
def store(tmp_path):
    return Cache(tmp_path / "cache")


def entry(store, key=KEY):
    return store.folder / key


def test_what_was_written_is_read(store):
    assert store.read(KEY) is None
    store.write(KEY, b"payload")
    assert store.read(KEY) == b"payload"
    stats = store.stats()
    assert (stats["hits"], stats["misses"], stats["writes"], stats["entries"]) == (1, 1, 1, 1)
    assert stats["bytes"] == entry(store).stat().st_size


def test_another_process_finds_it(store):
    store.write(KEY, b"payload")
    assert Cache(store.folder).read(KEY) == b"payload"


def test_folder_and_entries_are_the_owners_alone(store):
    store.write(KEY, b"payload")
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert entry(store).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("length", [0, 10, 40, 80, -1])
def test_a_truncated_entry_is_a_miss_and_goes(store, length):
    store.write(KEY, b"payload" * 100)
    data = entry(store).read_bytes()
    entry(store).write_bytes(data[:length])
    assert store.read(KEY) is None
    assert not entry(store).exists()


def test_a_longer_entry_is_a_miss_and_goes(store):
    store.write(KEY, b"payload")
    with open(entry(store), "ab") as file:
        file.write(b"\0")
    assert store.read(KEY) is None
    assert not entry(store).exists()


def test_any_flipped_bit_is_a_miss(store):
    store.write(KEY, b"payload")
    data = entry(store).read_bytes()
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 1 << (at % 8)
        entry(store).write_bytes(wrong)
        assert store.read(KEY) is None, at
        assert not entry(store).exists()


def test_an_entry_under_another_name_is_a_miss(store):
    store.write(KEY, b"payload")
    os.rename(entry(store), entry(store, OTHER))
    assert store.read(OTHER) is None


def test_a_link_in_place_of_an_entry_is_a_miss(store, tmp_path):
    store.write(KEY, b"payload")
    os.rename(entry(store), tmp_path / "planted")
    os.symlink(tmp_path / "planted", entry(store))
    assert store.read(KEY) is None
    assert (tmp_path / "planted").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_a_miss(store, make):
    make(entry(store))
    assert store.read(KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_entry_of_another_owner_is_a_miss(store):
    store.write(KEY, b"payload")
    os.chown(entry(store), 12345, -1)
    assert store.read(KEY) is None


def refused(folder, why):
    with pytest.warns(RuntimeWarning, match=why) as caught:
        store = Cache(folder)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write(KEY, b"payload")
        assert store.read(KEY) is None
        assert store.stats()["entries"] == 0
        store.evict()
        store.clear()
    assert not (folder / KEY).exists()


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o710, 0o701])
def test_a_folder_open_to_others_is_refused(tmp_path, mode):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    refused(folder, f"mode {mode:o}, expected 700")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_owner_is_refused(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    refused(folder, "belongs to user 12345")


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    os.symlink(tmp_path / "real", tmp_path / "cache")
    refused(tmp_path / "cache", "is not used")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="is not used"):
        assert Cache(tmp_path / "cache").read(KEY) is None


def test_a_folder_that_vanishes_is_no_error(store):
    store.write(KEY, b"payload")
    store.clear()
    store.folder.rmdir()
    store.write(KEY, b"payload")
    assert store.read(KEY) is None


def test_the_bound_drops_what_was_used_longest_ago(tmp_path):
    store = Cache(tmp_path / "cache", limit=10_000)
    keys = [cache.key(str(i)) for i in range(20)]
    for age, key in enumerate(keys[:8]):
        store.write(key, bytes(1000))
        os.utime(entry(store, key), (1000 + age, 1000 + age))
    assert store.read(keys[0]) is not None  # now the newest
    for key in keys[8:10]:
        store.write(key, bytes(1000))
    store.evict()
    stats = store.stats()
    assert stats["bytes"] <= 10_000 and stats["evictions"] > 0
    assert store.read(keys[0]) is not None
    assert store.read(keys[1]) is None
    assert store.read(keys[9]) is not None


def test_the_bound_holds_without_asking(tmp_path):
    store = Cache(tmp_path / "cache", limit=10_000)
    for i in range(100):
        store.write(cache.key(str(i)), bytes(1000))
        assert store.stats()["bytes"] <= 11_200
    store.write(KEY, bytes(20_000))  # larger than the bound: not kept at all
    assert store.read(KEY) is None


def test_what_a_dead_process_left_aside_goes(store):
    old, new = store.folder / f".{KEY}.1.1", store.folder / f".{KEY}.2.2"
    old.write_bytes(b"part")
    new.write_bytes(b"part")
    os.utime(old, (1000, 1000))
    store.evict()
    assert not old.exists() and new.exists()


def work(folder, seed):
    store = Cache(folder, limit=40_000)
    for i in range(300):
        number = (i * seed) % 60
        key, payload = cache.key(str(number)), bytes([number]) * 1000
        if store.read(key) not in (None, payload):
            os._exit(1)
        store.write(key, payload)
    os._exit(0)


def test_two_processes_at_once(tmp_path):
    Cache(tmp_path / "cache")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(tmp_path / "cache", s)) for s in (7, 11)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    names = os.listdir(tmp_path / "cache")
    assert names and not [name for name in names if name.startswith(".")]


def test_keys():
    assert len(KEY) == 64 and int(KEY, 16)
    assert cache.key("a", "b") == cache.key("a", "b")
    distinct = [("ab",), ("a", "b"), ("b", "a"), (b"ab",), ("a", b"b"), (), ("",)]
    assert len({cache.key(*parts) for parts in distinct}) == len(distinct)


def test_a_key_rests_on_our_own_source(monkeypatch):
    monkeypatch.setattr(cache, "_foundation", lambda: b"another day")
    assert cache.key("entry") != KEY


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_CACHE_DIR", str(tmp_path / "named"))
    cache.write(KEY, b"payload")
    assert cache.read(KEY) == b"payload"
    assert (tmp_path / "named" / KEY).exists()
    monkeypatch.setenv("GRISTMILL_CACHE", "off")
    assert cache.read(KEY) is None and cache.stats() == {}


def test_the_default_is_the_users_own_folder(tmp_path):
    script = "from gristmill.codegen.cache import folder; print(folder())"
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    given = {k: v for k, v in os.environ.items() if not k.startswith("GRISTMILL")}
    given |= {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": top}
    done = subprocess.run(
        [sys.executable, "-c", script], env=given, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / "gristmill")
