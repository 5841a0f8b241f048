"""The exceptions of the two languages; each also is the built-in exception that a Python user expects."""

from __future__ import annotations


class GristmillError(Exception):
    """Anything that Gristmill refuses by name."""


class OpError(GristmillError):
    """An op was given what it has no meaning for."""


class ShapeError(OpError, ValueError):
    """Sizes that do not fit together."""


class DTypeError(OpError, TypeError):
    """An element type that the op does not take."""


class IndexRangeError(OpError, IndexError):
    """An index outside of the dimension that it points into."""


class GraphError(GristmillError, ValueError):
    """A graph or a loop nest that breaks a law of its language (what ``verify`` and ``parse`` raise)."""


class ScheduleError(GristmillError, ValueError):
    """A schedule step that would change the meaning, or that finds nothing to do."""


class CompileError(GristmillError, RuntimeError):
    """Emitted text that the machine's compiler does not take: always a fault of ours."""


class TraceError(GristmillError, RuntimeError):
    """A traced function did what a compiled call could not repeat."""


class LeakedError(TraceError):
    """A symbolic tensor was met outside of the trace that made it."""


class GradError(GristmillError, RuntimeError):
    """Backward through what has no derivative, is gone, or was overwritten."""
