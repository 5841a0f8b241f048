"""The allocator: alignment, reuse, and blocks that live as long as anything refers to them."""

import gc
import itertools
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.codegen import memory
from gristmill.codegen.memory import allocate, size_class


@given(st.integers(0, 1 << 40))
def test_a_class_holds_the_request_and_little_more(nbytes):
    size = size_class(nbytes)
    assert size >= max(nbytes, 1) and size % 64 == 0
    assert size_class(size) == size
    assert size <= max(64, nbytes + 64, nbytes + nbytes // 8) or (
        nbytes > 1.8e6 and size % memory.HUGE == 0
    )


@given(st.lists(st.integers(0, 300_000), max_size=20))
def test_blocks_are_aligned_and_apart(sizes):
    blocks = [allocate(n) for n in sizes]
    spans = sorted((b.address, b.address + max(n, 1)) for b, n in zip(blocks, sizes, strict=True))
    assert all(begin % 64 == 0 for begin, _ in spans)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_large_blocks_lie_on_huge_pages():
    block = allocate(3 << 20)
    assert block.address % (2 << 20) == 0
    assert block.nbytes == 4 << 20
    x = block.array(np.uint8, (3 << 20,))
    x[:] = 7
    assert int(x.sum()) == 7 * (3 << 20)


def test_a_forked_child_writes_to_a_copy():
    x = allocate(4 << 20).array(np.int64, (1000,))
    x[:] = 1
    child = os.fork()
    if child == 0:
        x[:] = 2
        allocate(100)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (x == 1).all()


@pytest.mark.parametrize("nbytes", [100, 5000, 1 << 20, 5 << 20])
def test_a_dropped_block_is_used_again(nbytes):
    block = allocate(nbytes)
    address = block.address
    assert allocate(nbytes).address != address
    del block
    assert allocate(nbytes).address == address


def test_a_view_keeps_its_block():
    block = allocate(4096)
    address = block.address
    view = block.array(np.float32, (32, 32))[3:, ::2].T
    view[:] = 5
    del block
    gc.collect()
    others = [allocate(4096) for _ in range(10)]
    for other in others:
        other.array(np.uint8, (4096,))[:] = 0
    assert address not in [other.address for other in others]
    assert (view == 5).all()
    del view
    assert allocate(4096).address == address


def test_arrays_have_the_layout_asked_for():
    block = allocate(1024)
    whole = block.array(np.int32, (256,))
    whole[:] = np.arange(256)
    column = block.array(np.int32, (4, 3), (4, 40), 8)
    assert (column == [[2 + i + 10 * j for j in range(3)] for i in range(4)]).all()
    assert column.ctypes.data == block.address + 8
    with pytest.raises((ValueError, TypeError)):
        block.array(np.int32, (300,))
    with pytest.raises(ValueError):
        block.array(np.int32, (4, 3), (4, 600), 8)


def test_statistics():
    before = memory.stats()
    block = allocate(10 << 20)
    during = memory.stats()
    assert during["current"] - before["current"] == block.nbytes
    assert during["reserved"] >= during["current"]
    del block
    after = memory.stats()
    assert after["current"] == before["current"]
    assert after["peak"] >= during["current"]


def test_release_gives_back_what_is_free():
    kept = allocate(1000)
    x = kept.array(np.uint8, (1000,))
    x[:] = 9
    blocks = [allocate(n) for n in (100, 70_000, 900_000, 8 << 20, 32 << 20) for _ in range(3)]
    del blocks
    before = memory.stats()
    given_back = memory.release()
    after = memory.stats()
    assert given_back >= 3 * (40 << 20)
    assert before["reserved"] - after["reserved"] == given_back
    assert after["current"] == before["current"]
    assert (x == 9).all()
    fresh = allocate(1000)
    fresh.array(np.uint8, (1000,))[:] = 1
    assert (x == 9).all()
    assert memory.release() <= 8 << 20


def test_what_cannot_be_had_is_said():
    with pytest.raises(ValueError, match="nbytes is -1, expected 0 or more"):
        allocate(-1)
    with pytest.raises(ValueError, match="nbytes is -64"):
        allocate(-64)
    with pytest.raises(MemoryError, match=r"the system has no \d+ MB more"):
        allocate(1 << 60)


def test_threads_never_share_a_block():
    wrong = []

    def work(seed):
        held = []
        draw = np.random.default_rng(seed)
        for i in range(1500):
            block = allocate(int(draw.integers(1, 5000)))
            mark = block.array(np.int64, (block.nbytes // 8,))
            mark[:] = seed * 10_000 + i
            held.append((mark, seed * 10_000 + i))
            if len(held) > 20:
                array, value = held.pop(int(draw.integers(20)))
                if not (array == value).all():
                    wrong.append(value)

    before = memory.stats()["current"]
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert wrong == []
    assert memory.stats()["current"] == before


def test_a_block_in_a_cycle_comes_back():
    before = memory.stats()["current"]
    for _ in range(100):
        ring = [allocate(64)]
        ring.append(ring)
    del ring
    gc.collect()
    assert memory.stats()["current"] == before
