"""Sums of very many numbers keep nearly all of their digits, in every shape, and are those of any number of threads."""

import numpy as np
import pytest

import gristmill as gm

FUNCTIONS = {
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(),
    "first": lambda x: x.sum(0),
    "last": lambda x: x.mean(-1),
    "squares": lambda x: (x * x).sum(0),
}


@pytest.mark.parametrize("shape", [(1 << 20,), (1 << 19, 2), (300_000, 3), (1024, 1000), (3, 400_000)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_digits(name: str, shape: tuple[int, ...]) -> None:
    """Equal numbers are the worst case: every rounding goes the same way."""
    f = FUNCTIONS[name]
    x = np.full(shape, 0.1, np.float32)
    want = f(gm.tensor(x.astype(np.float64))).numpy()
    compiled = gm.compile(f)
    before = gm.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            gm.set_num_threads(threads)
            found.append(compiled(gm.tensor(x)).numpy())
    finally:
        gm.set_num_threads(before)
    assert np.abs(found[0] / want - 1).max() < 3e-5
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


@pytest.mark.parametrize("rows", [2047, 2048, 2049, 5000])
@pytest.mark.parametrize("columns", [1, 3, 17, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float16])
def test_chunks_of_rows(rows: int, columns: int, dtype: type) -> None:
    """Exact numbers: whatever the order, nothing is left out and nothing counted twice."""
    x = np.random.default_rng(rows).integers(-3, 4, (rows, columns)).astype(dtype)
    f = gm.compile(lambda x: (x.sum(0), (x * x).float().sum(0), x.amax(0)))
    total, squares, largest = (t.numpy() for t in f(gm.tensor(x)))
    assert (total == x.sum(0, dtype=np.float64)).all()
    assert (squares == (x.astype(np.float64) ** 2).sum(0)).all()
    assert (largest == x.max(0)).all()
