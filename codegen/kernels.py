"""Kernels found by what they follow from: in memory, on disk, or built now."""

import functools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..ir.target import Target
from . import cache
from .llvm.build import build
from .llvm.load import Code, LoadError, load

_loaded: weakref.WeakValueDictionary[str, Code] = weakref.WeakValueDictionary()


def find(parts: Sequence[str | bytes], target: Target, write: Callable[[], str]) -> Code:
    """The code that follows from ``parts``, which with the target must decide it wholly.

    Alive code is shared; else the disk cache is asked; else ``write()`` gives the LLVM text,
    which is built and stored. A hit calls no ``write`` and loads no LLVM.
    """
    key = cache.key("kernel", _numbers(target), *parts)
    code = _loaded.get(key)
    if code is None:
        code = _loaded[key] = _read(key) or _make(key, target, write)
    return code


@functools.lru_cache(maxsize=64)
def _numbers(target: Target) -> str:
    """All that a schedule may depend on: every number but the cores, work is not split by them."""
    return repr(replace(target, cores=1))


def _read(key: str) -> Code | None:
    data = cache.read(key)
    if data is None:
        return None
    try:
        return load(data)
    except LoadError:  # it needs a symbol that nobody has registered here
        return None


def _make(key: str, target: Target, write: Callable[[], str]) -> Code:
    data = build(write(), target)
    cache.write(key, data, {"target": target.name})
    return load(data)
