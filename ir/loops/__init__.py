"""The loop language: nests of loops over buffers, from naive ones to what a writer spells."""

from .expr import Apply, Const, Expr, Index, Load, Place, Where, apply, const, map_expr, places
from .interpret import interpret
from .intrinsics import INTRINSICS, identity
from .nest import (
    Barrier,
    Buffer,
    Kernel,
    Let,
    Loop,
    Prefetch,
    Size,
    Stmt,
    Store,
    buffer,
    load,
    loops,
)
from .parse import parse
from .verify import verify
