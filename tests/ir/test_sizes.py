"""Sizes: the laws of polynomials, bounds, shapes, and their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.ir import sizes
from gristmill.ir.sizes import (
    Poly,
    SizeError,
    at_least,
    broadcast_shapes,
    contiguous_strides,
    deciding,
    dim,
    equal,
    evaluate,
    least,
    name,
    parse,
    poly,
    product,
    substitute,
)

monomials = st.lists(st.sampled_from("abn"), max_size=3).map(lambda m: tuple(sorted(m)))
polys = st.dictionaries(monomials, st.integers(-4, 4).filter(bool), max_size=4).map(Poly)
values = st.fixed_dictionaries({n: st.integers(2, 7) for n in "abn"})
n, m = name("n"), name("m")


@given(polys, polys, polys, values)
def test_ring_laws(p, q, r, at):
    assert p + q == q + p and (p + q) + r == p + (q + r)
    assert p * q == q * p and (p * q) * r == p * (q * r)
    assert p * (q + r) == p * q + p * r
    assert p - p == 0 and p + 0 == p and p * 1 == p and p * 0 == 0 and p.__neg__() == -p and -1 * (-p) == p
    assert (p + q).evaluate(at) == p.evaluate(at) + q.evaluate(at)
    assert (p * q).evaluate(at) == p.evaluate(at) * q.evaluate(at)
    assert (p - q).evaluate(at) == p.evaluate(at) - q.evaluate(at)


@given(polys, st.integers(-5, 5), values)
def test_integers_beside_polynomials(p, k, at):
    assert p + k == k + p == p + poly(k) and p * k == k * p == p * poly(k)
    assert p - k == -(k - p) and (p - k).evaluate(at) == p.evaluate(at) - k
    assert (dim(poly(k)), type(dim(poly(k)))) == (k, int)


@given(polys, polys)
def test_equal_polynomials_hash_alike(p, q):
    assert hash(p + q - q) == hash(p) and p + q - q == p
    if len(p.terms) <= 1 and not p.names:
        assert hash(p) == hash(p.const) and p == p.const


@given(polys, polys, values)
def test_substitution_then_evaluation(p, q, at):
    replaced = substitute(dim(p), {"n": dim(q)})
    assert evaluate(replaced, at) == p.evaluate(at | {"n": q.evaluate(at)})
    assert p.substitute({"x": 3}) is p
    assert evaluate(substitute(dim(p), at), {}) == p.evaluate(at)


@given(polys, values)
def test_least_is_a_lower_bound(p, at):
    bound = least(dim(p))
    assert bound is None or bound <= p.evaluate(at)


@given(polys, polys.filter(lambda q: q.terms), values)
def test_division_is_exact(p, q, at):
    assert (p * q) // dim(q) == dim(p)
    try:
        quotient = p // q
    except SizeError:
        return
    assert evaluate(quotient, at) * q.evaluate(at) == p.evaluate(at)


def test_division_without_remainder_is_refused():
    for top, bottom in ((n + 1, 2), (n, m), (n * m + 1, n), (n + 1, n - 1)):
        with pytest.raises(SizeError, match="is not divisible by"):
            top // bottom
    with pytest.raises(ZeroDivisionError):
        n // 0
    assert (n * n - 1) // (n + 1) == n - 1


@given(polys)
def test_reads_back(p):
    assert parse(str(p)) == p and str(parse(str(p))) == str(p)


@pytest.mark.parametrize("text", ["2n", "n +", "n m", "n ** 2", "(n)", "3 4"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="not a size"):
        parse(text)


def test_text_is_short():
    assert str(3 * n * m - n + 2) == "3*m*n - n + 2"
    assert str(Poly({})) == "0" and str(-n) == "-n" and str(n * 0 - 1) == "-1"


def test_bounds():
    assert least(n) == 2 and least(n * m - n) == 2 and least(n - m) is None and least(dim(n - n)) == 0
    assert at_least(n, 2) and at_least(n * 2, n) and not at_least(1, n) and equal(n + m, m + n)
    assert not equal(n, 1) and not equal(n * m, n + 0 * m - 1)
    with pytest.raises(SizeError, match="whether n == m depends on sizes"):
        equal(n, m)
    with pytest.raises(SizeError, match="whether n >= 3 depends"):
        at_least(n, 3)


def test_a_decider_answers():
    asked = []
    with deciding(lambda a, relation, b: asked.append(f"{a} {relation} {b}") or True):
        assert equal(n, m) and at_least(n, 5) and not equal(n, 0)
    assert asked == ["n == m", "n >= 5"]
    with pytest.raises(SizeError):
        equal(n, m)


def test_shapes():
    assert broadcast_shapes((n, 1), (m,), ()) == (n, m)
    assert broadcast_shapes((3, 0), (1,)) == (3, 0) and broadcast_shapes() == ()
    with pytest.raises(ValueError, match="sizes 3 and 4 do not meet in dimension -1"):
        broadcast_shapes((2, 3), (4,))
    assert contiguous_strides((2, n, 3)) == (3 * n, 3, 1)
    assert contiguous_strides((2, 0, 3)) == (3, 3, 1)
    assert product((n, 2, m)) == 2 * m * n and product(()) == 1 and product((n, 0)) == 0
    assert sizes.is_static((1, 2)) and not sizes.is_static((1, n))


@given(st.lists(st.lists(st.sampled_from([1, 1, 4]), max_size=3), max_size=3))
def test_broadcasting_is_numpys(shapes):
    import numpy as np

    assert broadcast_shapes(*shapes) == np.broadcast_shapes(*map(tuple, shapes))


def test_parts_of_a_polynomial():
    p = 3 * n * n + 2 * n * m + 5
    assert p.const == 5 and p.names == {"n", "m"}
    assert p.coefficient("m") == 2 * n
    assert p.only(["m"]) == 2 * n * m
