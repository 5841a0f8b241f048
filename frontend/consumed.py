"""What a function uses up when it reads: iterators and generators of random numbers from outside of it."""

from __future__ import annotations

import copy
import io
import operator
import random
import types
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np

from .tree import is_open

RANDOM = (random.Random, np.random.Generator, np.random.BitGenerator, np.random.RandomState)

_PYTHON = getattr(random.random, "__self__", None)
_NUMPY = getattr(np.random.rand, "__self__", None)
"""The generators behind ``random`` and ``numpy.random``, which every trace compares."""


def is_used_up(x: Any) -> bool:
    """Whether reading from ``x`` changes it, unseen: the user's own iterators are watched as objects instead."""
    if isinstance(x, RANDOM):
        return x is not _PYTHON and x is not _NUMPY
    return isinstance(x, Iterator) and not is_open(type(x)) and not isinstance(x, io.IOBase)


def position(x: Any) -> Any:
    """The state of a random generator, to go back to it; None of an iterator, which only goes on."""
    if isinstance(x, random.Random):
        return x.getstate()
    if isinstance(x, np.random.RandomState):
        return x.get_state(legacy=False)
    x = getattr(x, "bit_generator", x)
    return copy.deepcopy(x.state) if isinstance(x, np.random.BitGenerator) else None


def mark(x: Any) -> Any:
    """How far it was read, as a value to compare; None where only a reading would tell."""
    if isinstance(x, RANDOM):
        return _flat(position(x))
    if isinstance(x, types.GeneratorType) or type(x).__module__ not in ("builtins", "itertools"):
        return None
    try:
        parts = x.__reduce__()
    except TypeError:
        return None
    found = operator.length_hint(x, -1), *map(_moving, parts[1:])
    return None if None in found else found


def _moving(x: Any) -> Any:
    """What of an iterator's parts moves: numbers, lengths and the iterators that it draws from."""
    if isinstance(x, Iterator):
        return mark(x)
    if isinstance(x, tuple):
        found = tuple(map(_moving, x))
        return None if None in found else found
    return x if isinstance(x, int) else len(x) if isinstance(x, Sized) else 0


def _flat(x: Any) -> Any:
    if isinstance(x, dict):
        return tuple((k, _flat(v)) for k, v in x.items())
    return x.tobytes() if isinstance(x, np.ndarray) else x


def put_back(x: Any, before: Any) -> None:
    """Undo what was drawn, where that is possible."""
    if isinstance(x, random.Random):
        x.setstate(before)
    elif isinstance(x, RANDOM):
        x = getattr(x, "bit_generator", x)
        if isinstance(x, np.random.BitGenerator):
            x.state = before
        else:
            x.set_state(before)
