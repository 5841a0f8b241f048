"""Where in the user's program something was made: found by one walk up the stack, decoded only when printed."""

from __future__ import annotations

import itertools
import linecache
import os
import sys
from types import CodeType, FrameType
from typing import NamedTuple

_INSIDE: dict[str, bool] = {}
_LIBRARY = os.path.dirname(os.__file__) + os.sep


def is_own(frame: FrameType) -> bool:
    """Whether a frame runs Gristmill's own code, told by its module's name."""
    return (frame.f_globals.get("__name__") or "").partition(".")[0] == "gristmill"


def is_inside(frame: FrameType) -> bool:
    """Whether a frame runs Gristmill's own code or the standard library's (remembered per file)."""
    file = frame.f_code.co_filename
    known = _INSIDE.get(file)
    if known is None:
        library = file.startswith(_LIBRARY) and "site-packages" not in file
        known = _INSIDE[file] = is_own(frame) or library or file.startswith("<frozen ")
    return known


class Span:
    """One place of the user's program: a code object and an instruction in it.

    ``str`` gives ``file.py:12``; ``excerpt`` the line with a caret under the expression.
    """

    __slots__ = ("code", "instruction")

    def __init__(self, code: CodeType, instruction: int) -> None:
        self.code, self.instruction = code, instruction

    def positions(self) -> tuple[int | None, int | None, int | None, int | None]:
        """First line, last line, first column, last column (None where unknown)."""
        at = itertools.islice(self.code.co_positions(), self.instruction // 2, None)
        return next(at, (self.code.co_firstlineno, None, None, None))

    @property
    def line(self) -> int:
        """The line number."""
        return self.positions()[0] or self.code.co_firstlineno

    @property
    def file(self) -> str:
        """The file's path, as Python knows it."""
        return self.code.co_filename

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.code.co_name

    def excerpt(self, indent: str = "  ") -> str:
        """``file.py:14, in step:   logits = x @ w`` and a line with carets below the expression."""
        first, last, start, end = self.positions()
        text = linecache.getline(self.file, first or 0).rstrip("\n")
        head = f"{indent}{self}, in {self.function}:   "
        stripped = text.lstrip()
        if not stripped:
            return head.rstrip()
        if start is None or end is None:
            return head + stripped
        prefix = text.encode()[:start].decode(errors="replace")
        shift = len(prefix) - (len(text) - len(stripped))
        width = (
            len(text.encode()[start:end].decode(errors="replace"))
            if last == first
            else len(stripped) - shift
        )
        return f"{head}{stripped}\n{' ' * (len(head) + shift)}{'^' * max(width, 1)}"

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"

    def __repr__(self) -> str:
        return f"Span({self})"


def caller(depth: int = 1) -> Span | None:
    """The nearest frame that is the user's, or None."""
    frame: FrameType | None = sys._getframe(depth)
    known = _INSIDE.get
    while frame is not None:
        inside = known(frame.f_code.co_filename)
        if inside is None:
            inside = is_inside(frame)
        if not inside:
            return Span(frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None


class Site(NamedTuple):
    """What stays with a node through every pass: the user's place, the module's path and what caused it.

    ``span`` is a ``Span``, or text where a graph was read from text; ``origin`` is ``forward``,
    ``backward`` or ``update``.
    """

    span: Span | str | None = None
    path: str = ""
    origin: str = "forward"

    def __str__(self) -> str:
        if self == NOWHERE:
            return ""
        text = str(self.span) if self.span is not None else "-"
        if self.path:
            text += f"  {self.path}"
        return f"{text}  ({self.origin})" if self.origin != "forward" else text


NOWHERE = Site()


def explain(message: str, span: Span | str | None, *way_out: str) -> str:
    """An error's text: what happened, the user's line with a caret, the way out."""
    lines = [message]
    if isinstance(span, Span):
        lines.append(span.excerpt())
    elif span:
        lines.append(f"  {span}")
    return "\n".join([*lines, *(f"  {w}" for w in way_out)])
