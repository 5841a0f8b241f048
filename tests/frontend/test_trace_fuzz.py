"""Random programs: eager and compiled agree on every output, buffer and gradient, or raise the same error."""

from __future__ import annotations

import numpy as np
import pytest
from random_programs import Refused, is_same, program, run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "start, count", [(0, 60), (50021, 1), pytest.param(1000, 5000, marks=pytest.mark.full)]
)
def test_random_programs(start: int, count: int) -> None:
    refused = 0
    with np.errstate(all="ignore"):
        for seed in range(start, start + count):
            text = program(seed)
            eager, _ = run(text, disable=True)
            try:
                compiled, _ = run(text, disable=False)
            except Refused:
                refused += 1
                continue
            assert is_same(eager, compiled), f"seed {seed}:\n{text}"
    assert refused <= count / 5


def test_the_comparison_can_fail() -> None:
    eager, _ = run(program(1), disable=True)
    other = [[a + 1 for a in eager[0]], *eager[1:]]
    assert is_same(eager, eager)
    assert not is_same(eager, other)
    assert not is_same(eager, eager[:-1])
