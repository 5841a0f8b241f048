"""A chain of elementwise ops on arrays far larger than any cache."""

from typing import Any

import numpy as np

from . import peers
from .limits import copying
from .timing import Timed

ROWS, COLUMNS = 16384, 1024
MOVED = 3 * 4 * ROWS * COLUMNS  # two arrays read, one written


def chain(th: Any, x: Any, y: Any, b: Any) -> Any:
    return th.relu(x * y + b) * 2.0 - x


def arrays() -> tuple[np.ndarray, ...]:
    wide = (ROWS, COLUMNS)
    return peers.random(*wide), peers.random(*wide, seed=1), peers.random(COLUMNS, seed=2)


def figures() -> list[Timed]:
    roofs = {"copy": copying(MOVED), "copy, streaming": copying(MOVED, streaming=True)}
    return [
        Timed(
            "relu chain 16M",
            ">= 0.8 of copy bandwidth",
            {**peers.both(peers.function(chain, arrays)), **roofs},
            bar=lambda seconds: seconds["copy"] / 0.8,
            limit=lambda seconds: min(seconds["copy"], seconds["copy, streaming"]),
        )
    ]
