"""Random programs over tensors: views, in-place writes, attributes, grad modes, random numbers, backward."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

import gristmill as gm
from gristmill import nn


class Refused(Exception):
    """A compiled function says by name that it cannot be compiled."""


def program(seed: int) -> str:
    """The text of a function ``f(x)`` over a pool ``t`` of 4 x 4 tensors."""
    r, lines, n = random.Random(seed), [], 4
    for _ in range(r.randint(4, 22)):
        line = statement(r, n)
        lines.append(line)
        n += "append" in line
    picks = [r.randrange(n) for _ in range(3)]
    lines.append(f"l = {' + '.join(f't[{p}].sum()' for p in picks)}")
    lines.append("if l.requires_grad: l.backward()")
    lines.append(f"return l, t[{r.randrange(n)}], t[{r.randrange(n)}].t()")
    return "def f(x):\n  t = [x, w, s, m.h]\n  " + "\n  ".join(lines)


def statement(r: random.Random, n: int) -> str:
    """One statement on a pool of ``n`` tensors."""
    a, b, k = r.randrange(n), r.randrange(n), round(r.uniform(-2, 2), 2)
    i = r.randrange(4)
    view = r.choice([
        f"t[{a}][{i}]", f"t[{a}][:, {i}]", f"t[{a}][1:3]", f"t[{a}].t()", f"t[{a}].t()[::2]", f"t[{a}].detach()",
        f"t[{a}].reshape(16)[3:9]",
    ])  # fmt: skip
    return r.choice([
        f"t.append(t[{a}] {r.choice('+-*')} t[{b}])",
        f"t.append(t[{a}] {r.choice('+-*')} t[{b}])",
        f"t.append(t[{a}].{r.choice(['tanh', 'relu', 'exp'])}() * 0.5)",
        f"t.append(t[{a}].t())",
        f"{view}.{r.choice(['mul_', 'add_'])}({k})",
        f"{view}.copy_({view} * {k})",
        f"with gm.no_grad(): t[{a}].{r.choice(['add_', 'mul_'])}(t[{b}])",
        f"m.h = t[{a}]",
        f"t.append(m.h + t[{a}])",
        f"t.append(t[{a}] + gm.rand(4, 4))",
        f"t[{a}].detach().copy_(t[{b}] * {k})",
        f"t.append(t[{a}] @ t[{b}].t() * 0.1)",
    ])  # fmt: skip


def run(text: str, disable: bool, calls: int = 3) -> tuple[list[Any], int]:
    """What is seen after each call (or the class of the error), and how often it was compiled."""
    gm.manual_seed(5)
    rng = np.random.default_rng(0)

    def draw() -> gm.Tensor:
        return gm.tensor(rng.standard_normal((4, 4)).astype(np.float32))

    m: Any = nn.Module()
    m.h = draw()
    space: dict[str, Any] = {"gm": gm, "w": draw().requires_grad_(), "s": draw(), "m": m}
    exec(compile(text, "program.py", "exec"), space)
    f = gm.compile(space["f"], disable=disable)
    seen: list[Any] = []
    for _ in range(calls):
        x = draw()
        try:
            out = [o.detach().numpy().copy() for o in f(x)]
        except gm.TraceError as error:
            raise Refused(str(error)) from error
        except (gm.GradError, ValueError) as error:
            if "outside of it" in str(error):
                raise Refused(str(error)) from error
            return [*seen, type(error).__name__], 0
        g = space["w"].grad
        state = [t.detach().numpy().copy() for t in (x, space["w"], space["s"], m.h)]
        strides = [np.array(o.stride()) for o in (m.h, *([] if g is None else [g]))]
        seen.append([*out, *state, np.zeros(0) if g is None else g.numpy().copy(), *strides])
    return seen, len(f.log)


def is_same(eager: list[Any], compiled: list[Any], tolerance: float = 2e-4) -> bool:
    """Whether both modes were seen to do the same, within rounding that products may amplify."""
    if len(eager) != len(compiled):
        return False
    for a, b in zip(eager, compiled, strict=True):
        if isinstance(a, str) or isinstance(b, str):
            if a is not b and a != b:
                return False
        elif not all(map(lambda x, y: is_close(x, y, tolerance), a, b)):
            return False
    return True


def is_close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """Equal shapes, and values within the tolerance relative to the largest finite one."""
    if a.shape != b.shape:
        return False
    finite = np.abs(a[np.isfinite(a)])
    scale = float(finite.max()) if finite.size else 1.0
    return bool(np.allclose(a, b, tolerance, tolerance * max(scale, 1.0), True))
