"""Row kernels: a softmax that reads its input once."""

from math import prod
from typing import Any

from . import peers
from .limits import copying
from .timing import Timed, fastest

SHAPE = (4096, 1024)


def softmax(th: Any, x: Any) -> Any:
    return th.nn.functional.softmax(x, -1)


def figures() -> list[Timed]:
    softmaxes = peers.both(peers.function(softmax, lambda: (peers.random(*SHAPE),)))
    return [
        Timed(
            "softmax 4096x1024",
            "not slower than torch",
            {**softmaxes, "copy": copying(2 * 4 * prod(SHAPE))},
            bar=fastest(("torch",)),
            limit=lambda seconds: seconds["copy"],
        )
    ]
