"""Contractions: a tile of results in registers, panels of the operands packed where they outgrow the caches.

Sources: Goto and van de Geijn, TOMS 2008 (panels); Van Zee and van de Geijn, TOMS 2015 (BLIS).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.errors import ScheduleError
from ...ir.loops.expr import Apply, Expr, Load
from ...ir.loops.nest import Kernel, Loop, Store
from ...ir.loops.walk import buffers, loops_of, reads, stores
from ...ir.sizes import Dim, Poly
from .legality import index_axes
from .plan import Plan, spread, stride, vectorize_loop

DEPTH = 1024  # products summed before the tile goes back to memory
ROWS = 120  # rows of A that a core keeps in L2 while it passes over B


@dataclass(slots=True)
class Contraction:
    """Roles of the axes of ``out fma= a * b``: ``m`` moves a, ``n`` moves b (and out by 1), ``k`` both."""

    out: str
    a: Load
    b: Load
    store: Store
    extents: dict[str, Dim]
    batch: list[str]
    rows: list[str]
    columns: list[str]
    sums: list[str]

    def extent(self, axis: str) -> Dim:
        """How far an axis runs; 1 if there is none."""
        return self.extents.get(axis, 1)


def find_contraction(kernel: Kernel) -> Contraction | None:
    """The contraction of a kernel, if it has exactly one over plain loads."""
    found = [s for s in stores(kernel.body) if s.reduce == "fma"]
    if len(found) != 1:
        return None
    (s,) = found
    value = s.value
    assert type(value) is Apply
    a, b = (_element(e) for e in value.args)
    if a is None or b is None:
        return None
    if any(type(i) is not Poly for i in (*s.index, *a.index, *b.index)):
        return None
    extents = {x.axis: x.extent for x in loops_of(kernel.body) if s in stores(x.body)}
    if all(x in index_axes(s.index) for x in extents):
        return None
    on_a, on_b, on_out = index_axes(a.index), index_axes(b.index), index_axes(s.index)
    return _with_lanes_in_b(kernel, Contraction(
        s.buffer, a, b, s, extents,
        batch=[x for x in extents if x in on_a and x in on_b and x in on_out],
        rows=[x for x in extents if x in on_a and x not in on_b and x in on_out],
        columns=[x for x in extents if x not in on_a and x in on_b and x in on_out],
        sums=[x for x in extents if x not in on_out],
    ))  # fmt: skip


def _element(e: Expr) -> Load | None:
    """The load that a factor is, as it lies or widened."""
    if type(e) is Apply and e.fn == "cast":
        e = e.args[0]
    return e if type(e) is Load else None


def _with_lanes_in_b(kernel: Kernel, c: Contraction) -> Contraction:
    """Name the operands so that the axis along which results lie side by side belongs to b."""
    out = buffers(kernel)[c.out]
    side = next((x for x in reversed(c.extents) if stride(out, c.store.index, x) == 1), None)
    swap = side in c.rows if side else not c.columns
    if c.extent(side or "") == 1:
        swap = not c.columns and bool(c.rows)
    if not swap:
        return c
    return Contraction(c.out, c.b, c.a, c.store, c.extents, c.batch, c.columns, c.rows, c.sums)


def schedule_contraction(plan: Plan, c: Contraction) -> None:
    """Choose among tiles, packed tiles and dot products, by strides and sizes."""
    known = buffers(plan.kernel)
    fused = join_epilogue(plan, c)
    out, b = known[c.out], known[c.b.buffer]
    depth = next((x for x in c.sums if stride(b, c.b.index, x) == 1), None)
    lane = next((x for x in c.columns if stride(out, c.store.index, x) == 1), None)
    across = next((x for x in c.columns if stride(b, c.b.index, x) == 1), None)
    turned = across != lane
    if lane is None or c.extent(lane) == 1 or (depth and turned and not _may_turn(c, lane)):
        return _schedule_dots(plan, c)
    _schedule_tiles(plan, c, lane, turned, fused)


def _may_turn(c: Contraction, lane: str) -> bool:
    """Is there a whole matrix of known size to turn, and more than one row to gain from it?"""
    fixed = type(c.extent(lane)) is int and all(type(c.extent(x)) is int for x in c.sums)
    whole = len(c.sums) == 1 and len(c.columns) == 1
    return fixed and whole and any(c.extent(x) != 1 for x in c.rows)


# ---- dot products: lanes along the sum ----


def _schedule_dots(plan: Plan, c: Contraction) -> None:
    """Each result by itself, four vectors of products at a time; results in parallel."""
    known = buffers(plan.kernel)
    sides = [(known[x.buffer], x.index) for x in (c.a, c.b)]
    inner = [x for x in c.sums if all(stride(b, at, x) in (0, 1) for b, at in sides)]
    outer = [x for x in c.extents if x not in c.sums]
    if not inner:
        raise ScheduleError("the operands of the sum do not lie side by side")
    rest = [x for x in c.sums if x != inner[-1]]
    plan.step("reorder", *outer, *rest, inner[-1])
    vectorize_loop(plan, inner[-1], 4)
    if outer:
        spread(plan, outer[0])


# ---- tiles ----


def _schedule_tiles(plan: Plan, c: Contraction, j: str, turned: bool, fused: bool) -> None:
    """Tiles of ``height`` rows and ``vectors`` vectors, accumulated in registers over all sums."""
    i = max(c.rows, key=lambda x: _size(c.extent(x)), default="")
    width = plan.lanes()
    height, vectors = _tile(plan, c.extent(i), c.extent(j), width)
    around = [*c.batch, *(x for x in (*c.rows, *c.columns) if x not in (i, j))]
    packs = _packs(plan, c, i, j)
    sums = list(c.sums)
    deep = sums[-1] + "c" if packs and not fused and _size(c.extent(sums[-1])) > DEPTH else ""
    plan.step("reorder", *around, j, *([i] if i else []), *sums)
    _split_columns(plan, c.extent(j), j, width, vectors)
    if i:
        _split_rows(plan, c.extent(i), i, height)
    chunk = _tiles_in_chunk(c, i, j, height, width * vectors, packs) if i else 0
    if chunk:
        plan.step("split", i + "o", chunk, i + "c", i + "o", "clamp")
    if deep:
        plan.step("split", sums[-1], DEPTH, deep, sums[-1])
    head = [*around, *([i + "c"] if chunk else []), *([deep] if deep else [])]
    tile = [x for x in (i + "u" if i else "", j + "u", j + "v") if x]
    top = [j + "o", i + "o"] if i else [j + "o"]
    plan.step("reorder", *head, *top, *sums, *tile)
    plan.step("accumulate", c.out, sums[0])
    if fused:
        _finish_in_registers(plan, c.out, tile)
    if turned or packs:
        _pack_columns(plan, c, j, width * vectors, turned)
    if packs and chunk:
        _pack_rows(plan, c, deep or i + "c", height)
    plan.step("vectorize", j + "v", width)
    plan.step("unroll", j + "u")
    if i:
        plan.step("unroll", i + "u")
    spread(plan, head[0] if head and head[0] != deep else _outermost(plan, c, i, j))


def _outermost(plan: Plan, c: Contraction, i: str, j: str) -> str:
    """Panels of columns if there are several, else tiles of rows (brought outside)."""
    panels = [x for x in loops_of(plan.kernel.body) if x.axis == j + "o"]
    several = any(x.extent != 1 for x in panels)
    if several or not i:
        return j + "o"
    plan.attempt("reorder", i + "o", j + "o")
    return i + "o"


def _size(n: Dim) -> int:
    return n if type(n) is int else 1 << 20


def _tile(plan: Plan, m: Dim, n: Dim, width: int) -> tuple[int, int]:
    """Rows and vectors of a tile: as square as registers allow, narrower for few columns."""
    rich = plan.target.vector_registers >= 32
    vectors = max(1, min(4 if rich else 2, -(-_size(n) // width)))
    height = {1: 12, 2: 12, 3: 8, 4: 6}[vectors] if rich else {1: 8, 2: 6}[vectors]
    if type(m) is int and m < height:
        height = m
        if rich and m <= 2:
            vectors = min(8, -(-_size(n) // width))
    elif type(m) is int:
        tiles = -(-m // height)
        height = -(-m // tiles)
    return height, vectors


def _packs(plan: Plan, c: Contraction, i: str, j: str) -> bool:
    """Do rows of B start too far apart, or outgrow L2, with enough rows of A to pay for packing?"""
    known = buffers(plan.kernel)
    b = known[c.b.buffer]
    if len(c.sums) != 1 or len(c.columns) != 1 or len(c.rows) != 1 or c.batch:
        return False
    if not all(type(n) is int for n in c.extents.values()) or _size(c.extent(i)) < 96:
        return False
    rows = _size(c.extent(j)) * b.dtype.itemsize
    whole = rows * _size(c.extent(c.sums[0]))
    return (rows >= 4096 and whole > (1 << 20)) or whole > (2 << 20)


def _tiles_in_chunk(c: Contraction, i: str, j: str, height: int, panel: int, packs: bool) -> int:
    """How many tiles of rows a thread takes at a time; 0 where panels of columns share out better.

    Chunks are cut by shape alone, so that results do not depend on the number of threads.
    """
    m, n = c.extent(i), c.extent(j)
    if c.batch or type(m) is not int or type(n) is not int or len(c.rows) > 1:
        return 0
    panels, tiles = n // panel, m // height
    if not packs and ((panels >= 4 and panels % 2 == 0) or n > 2 * m or m < 8 * height):
        return 0
    pairs = -(-m // (2 * ROWS)) if packs else max(1, min(8, tiles // 16))
    chunk = -(-tiles // (2 * pairs))
    return chunk if chunk < tiles else 0


def _split_columns(plan: Plan, n: Dim, j: str, width: int, vectors: int) -> None:
    tail = "cut" if type(n) is int else "mask"
    plan.step("split", j, width * vectors, j + "o", j + "r", tail)
    plan.step("split", j + "r", width, j + "u", j + "v", "clamp")


def _split_rows(plan: Plan, m: Dim, i: str, height: int) -> None:
    """A tail of unknown length is cut into ever smaller tiles."""
    if type(m) is int:
        plan.step("split", i, height, i + "o", i + "u")
        return
    smaller = tuple(x for x in (height * 2 // 3, height // 3) if x > 1)
    plan.step("split", i, height, i + "o", i + "u", smaller)


# ---- what follows the product ----


def join_epilogue(plan: Plan, c: Contraction) -> bool:
    """Bring the nest that reads the results into the same loops, so that it finds them in registers."""
    body = [s for s in plan.kernel.body if type(s) is Loop]
    if len(body) != 2:
        return False
    first, second = body
    private = c.out not in {b.name for b in plan.kernel.params}
    if not private or all(x.buffer != c.out for s in stores((second,)) for x in reads(s)):
        return False
    before = plan.kernel, list(plan.steps)
    order = [x for i in c.store.index for x in c.extents if type(i) is Poly and x in i.names]
    if order != [x for x in c.extents if x in order]:
        plan.attempt("reorder", *order, *c.sums)
        first = next(s for s in plan.kernel.body if type(s) is Loop)
    mine: Loop | None = first
    other: Loop | None = second
    while mine is not None and other is not None:
        if not plan.attempt("fuse", mine.axis, other.axis):
            plan.kernel, plan.steps = before
            return False
        mine, other = _only_loop(mine), _only_loop(other)
    return True


def _only_loop(loop: Loop) -> Loop | None:
    inner = [s for s in loop.body if type(s) is Loop]
    return inner[0] if len(inner) == 1 and len(loop.body) == 1 else None


def _finish_in_registers(plan: Plan, out: str, tile: list[str]) -> None:
    """The tile's results go through the epilogue before they are stored."""
    for axis in tile:
        plan.step("fuse", axis)
    plan.step("forward", out)


# ---- packing ----


def _dims(plan: Plan, c: Contraction, load: Load, axis: str) -> tuple[list[int], int, int]:
    """The dims of an operand that batch axes move, that the sum moves, and that ``axis`` moves."""
    batch = [d for d, i in enumerate(load.index) if _moves(i, c.batch)]
    (k,) = (d for d, i in enumerate(load.index) if _moves(i, c.sums))
    (n,) = (d for d, i in enumerate(load.index) if _moves(i, [axis]))
    return batch, k, n


def _moves(i: object, axes: list[str]) -> bool:
    return type(i) is Poly and not i.names.isdisjoint(axes)


def _pack_columns(plan: Plan, c: Contraction, j: str, panel: int, turned: bool) -> None:
    """B as [panel of columns][k][column], the whole of it, before anything else.

    A turned one (k lies side by side) goes through square tiles in registers.
    """
    try:
        batch, k, n = _dims(plan, c, c.b, j)
    except ValueError:
        raise ScheduleError("the operand to pack has other axes than a matrix") from None
    name, width, columns = f"{c.b.buffer}p", plan.lanes(), c.extent(j)
    if len(c.sums) != 1 or type(columns) is not int or type(c.extent(c.sums[0])) is not int:
        raise ScheduleError("packing needs one sum and sizes that are numbers")
    if not turned:
        plan.step("stage", c.b.buffer, None, (*batch, n, k, n), "local", 0, name, panel)
        inner = f"{name}_{n}"
        plan.step("split", inner, width, inner + "j", inner + "v", "clamp")
        plan.step("vectorize", inner + "v", width)
    else:
        _turn(plan, c, (batch, k, n), panel, columns)
    first = f"{name}_{batch[0]}" if batch else f"{name}_{n}o"
    spread(plan, first)


def _turn(
    plan: Plan, c: Contraction, dims: tuple[list[int], int, int], panel: int, columns: int
) -> None:
    batch, k, n = dims
    source, width = c.b.buffer, plan.lanes()
    name, tile = f"{source}p", f"{source}t"
    down, along = f"{name}_{n}", f"{name}_{k}"
    plan.step("stage", source, None, (*batch, n, k, n), "local", 0, name, panel)
    if columns > panel and columns % panel:
        plan.step("cut", down + "o", columns // panel)
    plan.step("split", down, width, down + "j", down + "v")
    plan.step("split", along, width, along + "k", along + "r")
    outer = [f"{name}_{d}" for d in batch]
    plan.step("reorder", *outer, down + "o", down + "j", along + "k", along + "r", down + "v")
    plan.step("stage", source, along + "k", (n, k), "registers", 0, tile)
    plan.step("vectorize", f"{tile}_{k}", width)
    plan.step("vectorize", down + "v", width)
    plan.step("unroll", f"{tile}_{n}")
    plan.step("unroll", along + "r")


def _pack_rows(plan: Plan, c: Contraction, at: str, height: int) -> None:
    """The block of A that one thread works on: rows off the powers of two, or [k][row] if turned."""
    known = buffers(plan.kernel)
    (i,), (k,) = c.rows, c.sums
    m = next(d for d, x in enumerate(c.a.index) if _moves(x, [i]))
    s = next(d for d, x in enumerate(c.a.index) if _moves(x, [k]))
    name, width = f"{c.a.buffer}p", plan.lanes()
    if stride(known[c.a.buffer], c.a.index, i) == 1:
        plan.step("stage", c.a.buffer, at, (m, s, m), "local", 0, name, height)
        plan.step("vectorize", f"{name}_{m}", width)
        return
    plan.step("stage", c.a.buffer, at, (m, s), "local", width, name)
    inner = f"{name}_{s}"
    plan.step("split", inner, width, inner + "k", inner + "v", "clamp")
    plan.step("vectorize", inner + "v", width)
