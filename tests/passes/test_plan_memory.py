"""The memory plan: what is alive together never overlaps, and the arena is not much larger than what is alive."""

from hypothesis import given
from hypothesis import strategies as st

from gristmill.passes.plan_memory import Lifetime, plan_memory

LIFETIMES = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 20), st.integers(0, 6)), max_size=30
)


@given(LIFETIMES)
def test_nothing_alive_together_overlaps(spans: list[tuple[int, int, int]]) -> None:
    lifetimes = [Lifetime(k, n, a, a + more) for k, (n, a, more) in enumerate(spans)]
    plan = plan_memory(lifetimes)
    for a in lifetimes:
        assert plan.offsets[a.key] % 64 == 0
        assert plan.offsets[a.key] + a.nbytes <= plan.nbytes
        for b in lifetimes:
            if a.key < b.key and a.nbytes and b.nbytes and a.first <= b.last and b.first <= a.last:
                x, y = plan.offsets[a.key], plan.offsets[b.key]
                assert x + a.nbytes <= y or y + b.nbytes <= x


def test_dead_memory_is_used_again() -> None:
    chain = [Lifetime(k, 4096, k, k + 1) for k in range(10)]
    plan = plan_memory(chain)
    assert plan.nbytes == plan.live == 8192
