"""The caching allocator: blocks that come back when nothing refers to them, NumPy views included.

Fresh pages cost more than most kernels, so memory is kept: a freed block waits in the list of
its size class until someone asks for that class again, or for ``release``. Large blocks are
mappings of their own on 2 MB boundaries with huge pages; smaller ones are cut from slabs.
"""

import bisect
import contextlib
import ctypes
import functools
import mmap
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from .forks import held_at_fork

ALIGNMENT = 64
HUGE = 2 << 20
_SLAB = 4 * HUGE


@dataclass(slots=True)
class _Slab:
    """A mapping that small blocks are cut from, in order; ``cut`` bytes of it are."""

    start: int
    mapping: mmap.mmap
    cut: int = 0


class _Pool:
    """The free lists, the mappings they came from, and the counts."""

    def __init__(self) -> None:
        self.lock = held_at_fork(threading.RLock(), "allocate")  # a collection inside may free a block
        self.free: dict[int, list[int]] = {}
        self.large: dict[int, mmap.mmap] = {}
        self.slabs: list[_Slab] = []
        self.current = self.peak = self.reserved = 0


_pool = _Pool()


class Block:
    """A piece of memory, 64-byte aligned; free for reuse when the last reference dies.

    Every class of sizes has a subclass that is also a ctypes array, so that a block is the
    buffer, and the base, of the NumPy arrays made from it.
    """

    address: int
    nbytes: int = 0

    def array(
        self,
        dtype: np.dtype[Any] | type,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> np.ndarray[Any, Any]:
        """A NumPy array over this memory; ``strides`` and ``offset`` in bytes.

        The array keeps the block alive. Raises ``ValueError`` where it would reach outside.
        """
        return np.ndarray(shape, dtype, self, offset, strides)  # type: ignore[arg-type]

    def __del__(self, pool: _Pool = _pool) -> None:  # bound now: it outlives the module's names
        size = self.nbytes
        with pool.lock:
            pool.current -= size
            pool.free[size].append(self.address)


def allocate(nbytes: int) -> Block:
    """A block of at least ``nbytes`` bytes, with whatever it held before.

    64-byte aligned; from 2 MB up on a 2 MB boundary with huge pages. Raises ``ValueError`` for a
    negative size and ``MemoryError`` when the system has no more.
    """
    if 0 <= nbytes <= _SMALL:
        make, size, waiting = _small[(nbytes + 63) >> 6]
    else:
        make, size, waiting = _lookup(nbytes)
    with _pool.lock:
        address = waiting.pop() if waiting else _fresh(size)
        _pool.current += size
        if _pool.current > _pool.peak:
            _pool.peak = _pool.current
    block = make(address)
    block.address = address
    return block


def size_class(nbytes: int) -> int:
    """The size that a request is rounded up to: at most an eighth more, beyond 512 bytes.

    >>> size_class(1), size_class(1000), size_class(1025)
    (64, 1024, 1152)
    """
    if nbytes < 0:
        raise ValueError(f"allocate: nbytes is {nbytes}, expected 0 or more")
    step = max(ALIGNMENT, 1 << max(0, (nbytes - 1).bit_length() - 4))
    if nbytes > HUGE - HUGE // 16:
        step = max(step, HUGE)
    return max(step, -(-nbytes // step) * step)


@functools.cache
def _class(size: int) -> tuple[Any, int, list[int]]:
    """How to make blocks of a class, their size, and those that are free."""
    kind = type(f"Block{size}", (Block, ctypes.c_char * size), {"nbytes": size})
    return kind.from_address, size, _pool.free.setdefault(size, [])  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=4096)
def _lookup(nbytes: int) -> tuple[Any, int, list[int]]:
    return _class(size_class(nbytes))


_SMALL = 4096
_small = [_class(size_class(64 * i)) for i in range(_SMALL // 64 + 1)]


def _fresh(size: int) -> int:
    """Memory that nobody had: a mapping of its own, or a piece of the newest slab."""
    if size >= HUGE:
        address, mapping = _map(size)
        _pool.large[address] = mapping
        return address
    slab = _pool.slabs[-1] if _pool.slabs else None
    if slab is None or slab.cut + size > _SLAB:
        slab = _Slab(*_map(_SLAB))
        _pool.slabs.append(slab)
    slab.cut += size
    return slab.start + slab.cut - size


def _map(size: int) -> tuple[int, mmap.mmap]:
    """A mapping with ``size`` bytes from a 2 MB boundary on, in huge pages if there are any."""
    try:
        mapping = _anonymous(size + HUGE)
    except OSError:
        release()
        try:
            mapping = _anonymous(size + HUGE)
        except OSError:
            held = _pool.current >> 20
            raise MemoryError(
                f"allocate: the system has no {size >> 20} MB more; {held} MB are in use"
            ) from None
    _pool.reserved += size
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    return -(-start // HUGE) * HUGE, mapping


def _anonymous(size: int) -> mmap.mmap:
    """Fresh private memory; a forked child has a copy of its own."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


def release() -> int:
    """Give the memory of free blocks back to the system; returns how many bytes went.

    A slab goes when every block cut from it is free.
    """
    with _pool.lock:
        before = _pool.reserved
        for size, waiting in _pool.free.items():
            while size >= HUGE and waiting:
                del _pool.large[waiting.pop()]
                _pool.reserved -= size
        _release_slabs()
        return before - _pool.reserved


def _release_slabs() -> None:
    """Unmap the slabs that are wholly free, and forget their blocks."""
    slabs = sorted(_pool.slabs, key=lambda slab: slab.start)
    starts = [slab.start for slab in slabs]
    idle = [0] * len(slabs)
    small = [(size, waiting) for size, waiting in _pool.free.items() if size < HUGE]
    for size, waiting in small:
        for address in waiting:
            idle[bisect.bisect_right(starts, address) - 1] += size
    gone = [slab.cut == free for slab, free in zip(slabs, idle, strict=True)]
    for _, waiting in small:
        kept = []
        while waiting:  # a collection in here may free another block into this very list
            address = waiting.pop()
            if not gone[bisect.bisect_right(starts, address) - 1]:
                kept.append(address)
        waiting.extend(kept)
    open_slab = _pool.slabs[-1] if _pool.slabs else None
    _pool.slabs = [slab for slab, empty in zip(slabs, gone, strict=True) if not empty]
    if open_slab in _pool.slabs:
        _pool.slabs.remove(open_slab)
        _pool.slabs.append(open_slab)
    _pool.reserved -= _SLAB * sum(gone)


def stats() -> dict[str, int]:
    """Bytes in use now, the most there ever were, and bytes held from the system."""
    with _pool.lock:
        return {"current": _pool.current, "peak": _pool.peak, "reserved": _pool.reserved}
