"""Products so large that they are packed, cut in depth and shared out, with tails on every side."""

import numpy as np
import pytest

import gristmill as gm


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("m", "k", "n", "turn_a", "turn_b"),
    [
        (700, 1025, 1500, False, False),
        (333, 2049, 700, True, False),
        (200, 1500, 1100, False, True),
        (1025, 65, 1025, True, True),
        (97, 1025, 2049, False, False),
    ],
)
def test_a_large_product(m: int, k: int, n: int, turn_a: bool, turn_b: bool, bias: bool) -> None:
    gm.manual_seed(0)
    a = gm.randn(k, m).T if turn_a else gm.randn(m, k)
    b = gm.randn(n, k).T if turn_b else gm.randn(k, n)
    c = gm.randn(n)

    @gm.compile
    def product(a: gm.Tensor, b: gm.Tensor, c: gm.Tensor) -> gm.Tensor:
        return (a @ b + c).relu() if bias else a @ b

    got = product(a, b, c).numpy()
    assert "plain" not in product.dump("schedule")
    want = a.numpy().astype(np.float64) @ b.numpy().astype(np.float64)
    if bias:
        want = np.maximum(want + c.numpy(), 0)
    np.testing.assert_allclose(got, want, atol=2e-6 * k, rtol=0)
