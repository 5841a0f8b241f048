"""Kernels found by what they follow from: in memory, on disk, or built now."""

import functools
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..ir.target import Target
from . import cache
from .llvm.build import build
from .llvm.load import Code, LoadError, load

_loaded: weakref.WeakValueDictionary[str, Code] = weakref.WeakValueDictionary()
_counts = {"shared": 0, "read": 0, "built": 0, "build_ns": 0}


def find(parts: Sequence[str | bytes], target: Target, write: Callable[[], str]) -> Code:
    """The code that follows from ``parts``, which with the target must decide it wholly.

    Alive code is shared; else the disk cache is asked; else ``write()`` gives the LLVM text,
    which is built and stored. A hit calls no ``write`` and loads no LLVM.
    """
    key = cache.key("kernel", _numbers(target), *parts)
    code = _loaded.get(key)
    if code is None:
        code = _loaded[key] = _read(key) or _make(key, target, write)
    else:
        _counts["shared"] += 1
    return code


def stats() -> dict[str, int]:
    """How often code was shared, read from disk, or built; nanoseconds spent building."""
    return {**_counts, "alive": len(_loaded)}


@functools.lru_cache(maxsize=64)
def _numbers(target: Target) -> str:
    """All that a schedule may depend on: every number but the cores, work is not split by them."""
    return repr(replace(target, cores=1))


def _read(key: str) -> Code | None:
    data = cache.read(key)
    if data is None:
        return None
    try:
        code = load(data)
    except LoadError:  # it needs a symbol that nobody has registered here
        return None
    _counts["read"] += 1
    return code


def _make(key: str, target: Target, write: Callable[[], str]) -> Code:
    begin = time.perf_counter_ns()
    data = build(write(), target)
    _counts["built"] += 1
    _counts["build_ns"] += time.perf_counter_ns() - begin
    cache.write(key, data)
    return load(data)
