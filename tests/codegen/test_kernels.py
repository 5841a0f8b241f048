"""Kernels by what they follow from: shared while alive, read from disk, or built."""

import gc

import pytest

from gristmill.codegen import cache, kernels
from gristmill.codegen.detect import host, level
from gristmill.codegen.llvm.symbols import register

TEXT = "define void @f(ptr %args, i64 %lo, i64 %hi) {\n  ret void\n}\n"


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Writer:
    """Counts how often the text was asked for."""

    def __init__(self, text=TEXT):
        self.text, self.calls = text, 0

    def __call__(self):
        self.calls += 1
        return self.text


def test_alive_code_is_shared_and_dead_code_read_again():
    gc.collect()  # what earlier tests left behind
    write, before = Writer(), kernels.stats()
    first = kernels.find(["a"], host(), write)
    assert kernels.find(["a"], host(), write) is first
    del first
    gc.collect()
    assert kernels.find(["a"], host(), write).address("f")
    after = kernels.stats()
    assert write.calls == 1
    counts = [after[name] - before[name] for name in ("built", "shared", "read", "alive")]
    assert counts == [1, 1, 1, 0]
    assert after["build_ns"] > before["build_ns"]


def test_parts_and_target_decide():
    write = Writer()
    kept = [
        kernels.find(parts, target, write)
        for parts in (["a"], ["b"], ["a", "b"])
        for target in (host(), level("x86-64"))
    ]
    assert write.calls == len({id(code) for code in kept}) == 6


def test_a_damaged_entry_is_built_anew(fresh):
    write = Writer()
    kernels.find(["a"], host(), write)
    (entry,) = fresh.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    kernels.find(["a"], host(), write)
    assert write.calls == 2
    kernels.find(["a"], host(), write)
    assert write.calls == 2


def test_without_a_cache_all_is_built(monkeypatch, fresh):
    monkeypatch.setenv("GRISTMILL_CACHE", "off")
    write = Writer()
    kernels.find(["a"], host(), write)
    kernels.find(["a"], host(), write)
    assert write.calls == 2
    assert not fresh.exists()


def test_an_entry_that_needs_a_lost_symbol_is_built_anew(monkeypatch):
    register("kernels_test_symbol", 0x1000)
    text = "declare void @kernels_test_symbol()\n"
    text += "define void @f() {\n  call void @kernels_test_symbol()\n  ret void\n}\n"
    kernels.find(["a"], host(), Writer(text))
    monkeypatch.setattr("gristmill.codegen.llvm.symbols._registered", {})
    write = Writer()
    kernels.find(["a"], host(), write)
    assert write.calls == 1


def test_a_failure_leaves_nothing_behind(fresh):
    with pytest.raises(RuntimeError):
        kernels.find(["a"], host(), Writer("define"))
    assert cache.stats()["entries"] == 0
    assert kernels.find(["a"], host(), Writer()).address("f")
