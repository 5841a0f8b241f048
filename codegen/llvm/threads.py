"""The threads that share a step's chunks: how many there are, and the native routines they run.

The pool and the walker are one object file, built once and kept in the disk cache. Workers are
started at the first parallel step, in a forked child again; none is ever pinned or left burning.
"""

import ctypes
import functools
import os

from ..detect import host, level
from ..kernels import find
from .load import Code, portable
from .pool import POOL
from .walk import WALK

_PATIENCE, _CROWDED = 1_000_000, 20_000  # nanoseconds that an idle worker spins
_MOST = 1024
_threads: int | None = None


def get_num_threads() -> int:
    """How many threads a parallel step may use, the caller's own among them."""
    global _threads
    if _threads is None:
        _threads = _from_environment() or host().cores
    return _threads


def set_num_threads(count: int) -> None:
    """Let parallel steps use ``count`` threads, the caller's own among them.

    Results do not depend on it. Raises ``ValueError`` unless 1 <= count <= 1024.
    """
    global _threads
    if not 1 <= count <= _MOST:
        raise ValueError(f"set_num_threads: count is {count}, expected 1 to {_MOST}")
    _threads = int(count)
    if not portable() and native.cache_info().currsize:
        _apply(native())


def _from_environment() -> int | None:
    text = os.environ.get("GRISTMILL_THREADS")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise ValueError(f"GRISTMILL_THREADS is {text!r}, expected a number from 1 to {_MOST}")
    return int(text)


@functools.cache
def native() -> Code:
    """The pool and the walker, mapped for good: a worker may be inside them at any time."""
    code = find(["runtime", POOL, WALK], level("x86-64"), lambda: POOL + WALK).immortal()
    os.register_at_fork(after_in_child=ctypes.CFUNCTYPE(None)(code.address("adopt")))
    _apply(code)
    return code


def _apply(code: Code) -> None:
    """Tell the pool how many workers to keep, where they may run, and how long to wait."""
    cpus = os.sched_getaffinity(0)
    allowed = (ctypes.c_uint64 * 16).from_address(code.address("allowed"))
    for word in range(16):
        allowed[word] = sum(1 << (c % 64) for c in cpus if c // 64 == word)
    workers = get_num_threads() - 1
    enough = len(cpus) > workers
    ctypes.c_int32.from_address(code.address("steered")).value = int(len(cpus) > 1 and enough)
    patience = ctypes.c_int64.from_address(code.address("patience"))
    patience.value = _PATIENCE if enough else _CROWDED
    if workers:
        ctypes.CFUNCTYPE(None)(code.address("tune"))()
    ctypes.CFUNCTYPE(None, ctypes.c_int32)(code.address("resize"))(workers)
