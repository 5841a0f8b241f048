"""``compile``: run a function once symbolically, then call what was built, as long as its guards hold.

A call looks for a variant by the structure, dtypes, strides and gradient state of its arguments;
sizes that were seen to differ are named, so that one variant serves them all.
"""

from __future__ import annotations

import functools
import logging
import os
import time
import types
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from ..ir.sizes import Dim, name
from .guards import MISS, quick
from .inspect import Report, dump, dump_all
from .layout import is_contiguous
from .record import record
from .state import state
from .tensor import Tensor
from .trace import Retry
from .tree import flatten
from .variant import Variant

logger = logging.getLogger("gristmill")

BACKENDS = ("gristmill",)
MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
QUICK = 4
"""Generated functions that are tried before the general way."""

LIMIT = 64
"""Variants of one argument structure after which a function is surely called with ever new values."""


class Compiled:
    """A compiled function: called like the function; ``variants`` and ``log`` tell what was compiled and why."""

    __name__: str

    def __init__(
        self, function: Callable[..., Any], dynamic: bool | None = None, disable: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.dynamic, self.disabled = function, dynamic, disable
        self.variants: list[Variant] = []
        self.table: dict[Any, list[tuple[Variant, dict[str, int]]]] = {}
        self.structures: dict[Any, Structure] = {}
        self.log: list[str] = []
        self.quick: list[Callable[..., Any]] = []
        self.sizes: dict[str, int] = {}

    def __get__(self, obj: Any, kind: Any = None) -> Any:
        return self if obj is None else types.MethodType(self, obj)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what was compiled for such arguments, or compile it now."""
        if self.disabled or state.trace is not None or not state.compiling:
            return self.function(*args, **kwargs)
        for hit in self.quick:
            found = hit(args, kwargs)
            if found is not MISS:
                return found
        leaves: list[Any] = []
        structure = flatten((args, kwargs), leaves)
        key = (structure, state.grad_enabled, *map(describe, leaves), *aliases(leaves))
        for variant, sizes in self.table.get(key, ()):
            if variant.holds(leaves, sizes):
                self._remember(variant, sizes, (args, kwargs), leaves)
                return variant.run(leaves, sizes)
        variant, sizes = self._find(key, args, kwargs, leaves)
        return variant.run(leaves, sizes)

    def _remember(
        self, variant: Variant, sizes: dict[str, int], call: Any, leaves: list[Any]
    ) -> None:
        """From the second call on a variant has a generated function; the last ones used are kept."""
        hit = quick(variant, sizes, call, leaves)
        if hit is not None:
            self.quick = [hit, *self.quick[: QUICK - 1]]

    def explain(self) -> Report:
        """What was compiled and why: kernels with ops and source lines, bytes, FLOPs, memory, times (printable)."""
        return Report(self.__name__, list(self.used()), self.sizes)

    def dump(self, stage: str = "graph") -> str:
        """The text of a stage of the variant used last: trace, graph, fused, loops, schedule, nests, llvm, asm."""
        for variant in self.used():
            return dump(variant, stage)
        raise RuntimeError(f"{self.__name__} was not called yet: nothing is compiled")

    def used(self) -> list[Variant]:
        """The variants, the one compiled last first."""
        return self.variants[::-1]

    # ---- a new key, or guards that fail ----

    def _find(
        self, key: Any, args: Any, kwargs: Any, leaves: list[Any]
    ) -> tuple[Variant, dict[str, int]]:
        """A variant whose pattern of sizes fits, else a new trace."""
        loose = (
            key[0],
            key[1],
            *(
                k[:1] + k[2:] if isinstance(k, tuple) and k and k[0] == "tensor" else k
                for k in key[2:]
            ),
        )
        structure = self.structures.setdefault(loose, Structure())
        why = ""
        known = self.table.setdefault(key, [])
        for variant in structure.variants:
            sizes = variant.match(leaves)
            if sizes is None or any(v is variant for v, _ in known):
                why = why or variant.why
                continue
            if variant.holds(leaves, sizes):
                known.insert(0, (variant, sizes))
                return variant, sizes
            why = variant.why
        if known:
            why = known[0][0].why
        reason = self._reason(structure, leaves, why)
        return self._compile(structure, known, args, kwargs, leaves, reason)

    def _reason(self, structure: Structure, leaves: list[Any], why: str) -> str:
        if not self.variants:
            return "first call"
        if not structure.variants:
            return f"arguments changed: {show(self.variants[-1].keep)} -> {show(leaves)}"
        return why or f"sizes changed: {show(structure.variants[0].keep)} -> {show(leaves)}"

    def _compile(
        self,
        structure: Structure,
        known: Any,
        args: Any,
        kwargs: Any,
        leaves: list[Any],
        reason: str,
    ) -> tuple[Variant, dict[str, int]]:
        if len(structure.variants) >= LIMIT:
            recent = "; ".join(self.log[-3:])
            raise RuntimeError(
                f"{self.__name__} was compiled {LIMIT} times for one structure of arguments: {recent}"
            )
        dims = structure.symbolic(leaves, self.dynamic)
        started = time.perf_counter()
        notes: list[str] = []
        for _ in range(32):
            try:
                variant = record(self.function, args, kwargs, leaves, dims)
                break
            except Retry as retry:
                notes.append(str(retry))
        else:
            raise RuntimeError(f"{self.__name__}: tracing does not settle: {'; '.join(notes[-3:])}")
        variant.seconds = time.perf_counter() - started
        variant.reason = "; ".join(
            [reason, *(f"{n}: it became a run-time input" for n in notes if "number" in n)]
        )
        structure.variants.insert(0, variant)
        self.variants.append(variant)
        dump_all(self.__name__, len(self.variants) - 1, variant)
        self.log.append(variant.reason)
        if len(self.log) > 1:
            logger.info("%s compiled again: %s", self.__name__, variant.reason)
        sizes = self.sizes = variant.match(leaves) or {}
        known.insert(0, (variant, sizes))
        if not variant.holds(leaves, sizes):
            raise RuntimeError(
                f"{self.__name__}: a guard fails right after the trace: {variant.why}"
            )
        return variant, sizes


class Structure:
    """What is known of one structure of arguments: its variants, and which sizes were seen to differ."""

    def __init__(self) -> None:
        self.variants: list[Variant] = []
        self.seen: dict[tuple[int, int], int] = {}
        self.differ: set[tuple[int, int]] = set()

    def symbolic(self, leaves: list[Any], dynamic: bool | None) -> dict[int, dict[int, Dim]]:
        """Names for sizes that differ from an earlier call (all of them with ``dynamic``), by leaf and dimension."""
        groups: dict[Any, str] = {}
        out: dict[int, dict[int, Dim]] = {}
        for i, x in enumerate(leaves):
            if not isinstance(x, Tensor):
                continue
            for d, n in enumerate(x._type.shape):
                assert isinstance(n, int)
                before = self.seen.get((i, d), n)
                if (before != n or dynamic) and n >= 2 and dynamic is not False:
                    self.differ.add((i, d))
                if (i, d) in self.differ and n >= 2 and is_contiguous(x._type.shape, x._strides):
                    group = groups.setdefault((before, n), f"s{len(groups)}")
                    out.setdefault(i, {})[d] = name(group)
                self.seen.setdefault((i, d), n)
        return out


def describe(x: Any) -> Any:
    """What of a leaf must be equal for a variant to be looked up at all."""
    if not isinstance(x, Tensor):
        return None
    s, t = x._storage, x._type
    strides = None if is_contiguous(t.shape, x._strides) else x._strides
    leaf = id(x) if s.leaf is not None and not x._steps else x.requires_grad
    return "tensor", t.shape, t.dtype, strides, leaf


def aliases(leaves: list[Any]) -> tuple[int, ...]:
    """Which tensors stand more than once."""
    tensors = [id(x) for x in leaves if isinstance(x, Tensor)]
    return tuple(map(tensors.index, tensors)) if len(set(tensors)) != len(tensors) else ()


def show(leaves: Any) -> str:
    """The types of tensors among leaves."""
    return (
        "("
        + ", ".join(str(x._type) if isinstance(x, Tensor) else type(x).__name__ for x in leaves)
        + ")"
    )


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Compile a function (or method, or Module): its whole body becomes one native program.

    ``fullgraph`` is always so. ``dynamic=True`` makes every size symbolic at once; by default a size becomes symbolic
    when it is seen to differ. ``disable=True`` leaves the function as it is. A backend of another compiler is an error.

    >>> import gristmill as gm
    >>> @gm.compile
    ... def f(x):
    ...     return (x * 2 + 1).sum()
    >>> f(gm.ones(3))
    tensor(9.)
    """
    if backend not in (None, *BACKENDS):
        raise ValueError(
            f"there is no backend {backend!r}: there is {', '.join(map(repr, BACKENDS))}"
        )
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}: there are {', '.join(map(repr, MODES[1:]))}")
    unknown = set(options or {}) - {"fast"}
    if unknown:
        raise ValueError(f"there is no option {sorted(unknown)[0]!r}: there is 'fast'")
    if model is None:
        return lambda f: compile(
            f,
            fullgraph=fullgraph,
            dynamic=dynamic,
            backend=backend,
            mode=mode,
            options=options,
            disable=disable,
        )
    if not callable(model):
        raise TypeError(f"compile takes a function or a Module, not {type(model).__name__}")
    if isinstance(model, Compiled):
        return model
    off = disable or os.environ.get("GRISTMILL_COMPILE") == "0"
    if hasattr(model, "_compiled"):
        return model._compiled(lambda f: Compiled(f, dynamic, off))
    return Compiled(model, dynamic, off)


@contextmanager
def eager() -> Any:
    """Inside the block compiled functions run as they are written, op by op."""
    before, state.compiling = state.compiling, False
    try:
        yield
    finally:
        state.compiling = before
