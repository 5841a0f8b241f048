"""Matrix products: one that a peak can be held against, two that are awkward."""

from typing import Any

import numpy as np

from . import peers
from .limits import multiply_adds
from .timing import Bar, Timed, fastest

SHARE = 0.85


def product(th: Any, a: Any, b: Any) -> Any:
    return a @ b


def figure(m: int, n: int, k: int, promise: str, bar: Bar, unit: str = "ms") -> Timed:

    def arrays() -> tuple[np.ndarray, ...]:
        return peers.random(m, k), peers.random(k, n, seed=1)

    return Timed(
        f"matmul {m}x{n}x{k}",
        promise,
        {
            **peers.both(peers.function(product, arrays)),
            **peers.numpy(np.matmul, arrays),
            "FMA peak": multiply_adds(2 * m * n * k),
        },
        limit=lambda seconds: seconds["FMA peak"],
        bar=bar,
        unit=unit,
    )


def figures() -> list[Timed]:
    """Shapes are rows, columns, and the length of the sums."""
    not_slower = "not slower than torch, NumPy", fastest(("torch", "NumPy"))
    return [
        figure(512, 512, 512, f">= {SHARE:.0%} of FMA peak", bar=lambda s: s["FMA peak"] / SHARE),
        figure(127, 65, 33, *not_slower, unit="us"),
        figure(1000, 10, 784, *not_slower),
    ]
