"""One program for all: written against torch's names, it runs as torch, and as ours compiled."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from . import THREADS
from .timing import OURS, Builder, Call

Jit = Callable[[Callable[..., Any]], Callable[..., Any]]
Arrays = Callable[[], tuple[np.ndarray, ...]]
Program = Callable[[Any, Jit], Call]
"""``(library, jit) -> call``: builds its tensors with the library, wraps its work in ``jit``."""


def library(name: str) -> Any:
    """``torch`` or ``gristmill`` with ``nn`` and ``optim`` loaded and the threads set."""
    found = importlib.import_module(name)
    for part in ("nn", "nn.functional", "optim"):
        importlib.import_module(f"{name}.{part}")
    found.set_num_threads(THREADS)
    return found


def jit_of(name: str) -> Jit:
    """How a library's contenders run: ours compiled, torch eagerly."""
    return library(name).compile if name == "gristmill" else eager


def eager(f: Callable[..., Any]) -> Callable[..., Any]:
    return f


def ours(program: Program) -> Builder:
    return lambda: program(library("gristmill"), jit_of("gristmill"))


def torch(program: Program) -> Builder:
    return lambda: program(library("torch"), eager)


def both(program: Program) -> dict[str, Builder]:
    return {OURS: ours(program), "torch": torch(program)}


def function(f: Callable[..., Any], arrays: Arrays) -> Program:
    """The program that calls ``f(library, *tensors)``."""

    def program(th: Any, jit: Jit) -> Call:
        tensors = [th.tensor(array) for array in arrays()]
        work = jit(lambda *tensors: f(th, *tensors))
        return lambda: work(*tensors)

    return program


def numpy(f: Callable[..., Any], arrays: Arrays) -> dict[str, Builder]:
    def build() -> Call:
        inputs = arrays()
        return lambda: f(*inputs)

    return {"NumPy": build}


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
