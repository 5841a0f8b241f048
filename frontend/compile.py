"""``compile``: run a function once symbolically, then call what was built, as long as its guards hold.

A call looks for a variant by the structure, dtypes, strides and gradient state of its arguments;
sizes that were seen to differ are named, so that one variant serves them all.
"""

from __future__ import annotations

import copy
import functools
import gc
import logging
import os
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..codegen import kernels
from .bindings import Bindings, Structure, bindings_of
from .guards import MISS, quick
from .inspect import Report, dump, dump_all
from .layout import is_contiguous
from .record import record
from .state import state, tracing
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
        self.__name__ = type(function).__name__
        functools.update_wrapper(self, function)
        self.function, self.dynamic, self.disabled = function, dynamic, disable
        self.bindings = Bindings()
        self.made: list[weakref.ref[Variant]] = []
        self.log: list[str] = []
        self.sizes: dict[str, int] = {}

    @property
    def variants(self) -> list[Variant]:
        """Everything that was compiled and is alive, in the order of compilation."""
        return [v for v in (ref() for ref in self.made) if v is not None]

    def like(self, function: Callable[..., Any]) -> Compiled:
        """Another function compiled in the same way; nothing of what was compiled is shared."""
        return type(self)(function, self.dynamic, self.disabled)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return self.like(copy.deepcopy(self.function, memo))

    def __reduce__(self) -> Any:
        name = getattr(self.function, "__qualname__", "")
        if getattr(sys.modules.get(self.__module__), name, None) is self:
            return name  # a decorated function is found by its name, as any function
        return type(self), (self.function, self.dynamic, self.disabled)

    def __get__(self, obj: Any, kind: Any = None) -> Any:
        return self if obj is None else types.MethodType(self, obj)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what was compiled for such arguments, or compile it now."""
        if self.disabled or state.trace is not None or not state.compiling:
            return self.function(*args, **kwargs)
        here = self.bindings
        if args and type(args[0]) is not Tensor:
            here = bindings_of(self, args[0], here)
        for hit in here.quick:
            found = hit(args, kwargs)
            if found is not MISS:
                return found
        leaves: list[Any] = []
        structure = flatten((args, kwargs), leaves)
        key = (structure, state.grad_enabled, *map(describe, leaves), *aliases(leaves))
        for variant, sizes in here.table.get(key, ()):
            if variant.holds(leaves, sizes):
                made = quick(variant, sizes, (args, kwargs), leaves)
                if made is not None:  # from the second call on; the last ones used are kept
                    here.quick = [made, *here.quick[: QUICK - 1]]
                return variant.run(leaves, sizes)
        variant, sizes = self._find(here, key, args, kwargs, leaves)
        return variant.run(leaves, sizes)

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
        self, here: Bindings, key: Any, args: Any, kwargs: Any, leaves: list[Any]
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
        structure = here.structures.setdefault(loose, Structure())
        why = ""
        known = here.table.setdefault(key, [])
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
        reason = self._reason(here, structure, leaves, why)
        return self._compile(structure, known, args, kwargs, leaves, reason)

    def _reason(self, here: Bindings, structure: Structure, leaves: list[Any], why: str) -> str:
        if not self.log:
            return "first call"
        if structure.variants:
            return why or f"sizes changed: {structure.variants[0].shown} -> {show(leaves)}"
        others = [v for s in here.structures.values() for v in s.variants]
        if not others:
            return f"first call with this {type(leaves[0]).__name__}"
        return f"arguments changed: {others[-1].shown} -> {show(leaves)}"

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
        variant = self._traced(args, kwargs, leaves, dims)
        variant.reason, variant.shown = "; ".join([reason, *variant.notes]), show(leaves)
        structure.variants.insert(0, variant)
        self.made.append(weakref.ref(variant))
        dump_all(self.__name__, len(self.log), variant)
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

    def _traced(self, args: Any, kwargs: Any, leaves: list[Any], dims: Any) -> Variant:
        """A new variant; the trace is made again until no number and no size is found to be another input."""
        started, before = time.perf_counter(), kernels.stats()
        notes: list[str] = []
        for _ in range(32):
            try:
                with tracing, collection_paused():
                    variant = record(self.function, args, kwargs, leaves, dims)
                break
            except Retry as retry:
                notes.append(str(retry))
        else:
            raise RuntimeError(f"{self.__name__}: tracing does not settle: {'; '.join(notes[-3:])}")
        variant.seconds = time.perf_counter() - started
        after = kernels.stats()
        variant.found = {word: after[word] - before[word] for word in ("shared", "read", "built")}
        variant.notes = [f"{n}: it became a run-time input" for n in notes if "number" in n]
        return variant


@contextmanager
def collection_paused() -> Iterator[None]:
    """Without the collector of cycles: it would walk a growing graph again and again, to find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def describe(x: Any) -> Any:
    """What of a leaf must be equal for a variant to be looked up at all."""
    if not isinstance(x, Tensor):
        return None
    s, t = x._storage, x._type
    strides = None if is_contiguous(t.shape, x._strides) else x._strides
    leaf = "leaf" if s.leaf is not None and not x._steps else x.requires_grad
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
