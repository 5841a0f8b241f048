"""Data sets, samplers, collating and the loader: orders, batches, workers and messages."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gristmill as gm
from gristmill.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)


class Squares(Dataset):
    """Samples made one by one, the early ones slowest."""

    def __init__(self, n: int, slow: float = 0.0) -> None:
        self.n, self.slow = n, slow

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[int, float]:
        time.sleep(self.slow / (1 + i))
        return i, float(i * i)


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(range(7))


def seeded(n: int = 0) -> gm.Generator:
    return gm.Generator().manual_seed(n)


def joined(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


def firsts(loader: Any) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


# ---- the order ----


def test_an_epoch_is_a_function_of_the_generators_state() -> None:
    data, g = TensorDataset(gm.arange(20)), seeded(4)
    loader = DataLoader(data, batch_size=6, shuffle=True, generator=g)
    start = g.get_state()
    one, two = firsts(loader), firsts(loader)
    assert one != two and sorted(joined(one)) == list(range(20)) == sorted(joined(two))
    g.set_state(start)
    assert firsts(loader) == one and firsts(loader) == two
    again = DataLoader(data, batch_size=6, shuffle=True, generator=seeded(4), num_workers=3)
    assert firsts(again) == one and firsts(again) == two


def test_the_default_generator_orders() -> None:
    loader = DataLoader(TensorDataset(gm.arange(20)), batch_size=6, shuffle=True)
    gm.manual_seed(1)
    one = firsts(loader)
    gm.manual_seed(1)
    assert firsts(loader) == one


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 12), st.integers(1, 5), st.booleans(), st.integers(0, 2))
def test_length_and_batches(n: int, size: int, drop: bool, workers: int) -> None:
    loader = DataLoader(Squares(n), batch_size=size, drop_last=drop, num_workers=workers)
    found = firsts(loader)
    assert len(found) == len(loader)
    whole = n - n % size if drop else n
    assert joined(found) == list(range(whole))
    assert all(len(b) == size for b in found[:-1])


def test_threads_keep_the_order() -> None:
    loader = DataLoader(Squares(12, slow=0.02), batch_size=2, num_workers=4, prefetch_factor=3)
    assert joined(firsts(loader)) == list(range(12))


# ---- batches ----


def test_rows_are_gathered_as_samples_would_be_stacked() -> None:
    x, y = gm.rand(10, 3), gm.arange(10)

    class Plain(Dataset):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, i: int) -> Any:
            return x[i], y[i]

    for data in (TensorDataset(x, y), Subset(TensorDataset(x, y), range(10))):
        fast = list(DataLoader(data, batch_size=4, shuffle=True, generator=seeded()))
        slow = list(DataLoader(Plain(), batch_size=4, shuffle=True, generator=seeded()))
        for a, b in zip(fast, slow, strict=True):
            assert type(a) is type(b) is list
            assert all(gm.equal(u, v) and u.dtype is v.dtype for u, v in zip(a, b, strict=True))


def test_a_batch_is_no_view_of_the_data() -> None:
    x = gm.zeros(4)
    (batch,) = next(iter(DataLoader(TensorDataset(x), batch_size=4)))
    batch.fill_(1)
    assert x.sum().item() == 0


def test_a_subclass_with_its_own_samples_is_asked() -> None:
    class Numbered(TensorDataset):
        def __getitem__(self, i: Any) -> Any:
            return (10 * i + self.tensors[0][i].item(),)  # of a list it would make another one

    assert firsts(DataLoader(Numbered(gm.arange(3)), batch_size=2)) == [[0, 11], [22]]


def test_collate() -> None:
    Point = namedtuple("Point", "x y")
    out = default_collate([Point(1.5, gm.ones(2)), Point(2.5, gm.zeros(2))])
    assert type(out) is Point and out.x.dtype is gm.float64 and out.y.shape == (2, 2)
    assert default_collate([np.float32(1), np.float32(2)]).dtype is gm.float32
    assert default_collate([np.ones(2), np.zeros(2)]).shape == (2, 2)
    assert default_collate([True, False]).dtype is gm.bool
    assert default_collate([OrderedDict(a=[1, "u"]), OrderedDict(a=[2, "v"])])["a"][1] == ["u", "v"]
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="object"):
        default_collate([object()])


def test_without_batches_and_with_ones_own() -> None:
    data = TensorDataset(gm.arange(5))
    assert [x.item() for (x,) in DataLoader(data, batch_size=None)] == [0, 1, 2, 3, 4]
    loader = DataLoader(data, batch_sampler=[[4, 0], [2]])
    assert firsts(loader) == [[4, 0], [2]] and len(loader) == 2
    assert firsts(DataLoader(data, batch_size=2, sampler=gm.tensor([3, 1, 0]))) == [[3, 1], [0]]
    assert list(DataLoader(Squares(3), batch_size=2, collate_fn=len)) == [2, 1]


def test_streams() -> None:
    found = [b.tolist() for b in DataLoader(Stream(), batch_size=3)]
    assert found == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(list(DataLoader(Stream(), batch_size=3, drop_last=True))) == 2
    assert list(DataLoader(Stream(), batch_size=None)) == list(range(7))


# ---- workers ----


class Faulty(Squares):
    def __getitem__(self, i: int) -> Any:
        if i == 5:
            raise OSError("cannot read")
        return super().__getitem__(i)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_names_the_sample(workers: int) -> None:
    loader = DataLoader(Faulty(9), batch_size=2, num_workers=workers)
    seen = []
    with pytest.raises(OSError, match="cannot read") as caught:
        seen.extend(batch[0].tolist() for batch in loader)
    assert caught.value.__notes__ == ["while reading sample 5 of Faulty"]
    assert seen == [[0, 1], [2, 3]]


def test_workers_are_numbered_and_end() -> None:
    seen: list[int] = []
    loader = DataLoader(Squares(8, 0.01), batch_size=1, num_workers=2, worker_init_fn=seen.append)
    batches = iter(loader)
    next(batches)
    batches.close()
    assert sorted(seen) == [0, 1]
    assert not any(t.name.startswith("gristmill-loader") for t in threading.enumerate())


# ---- data sets and samplers ----


def test_concat_and_subset() -> None:
    both = TensorDataset(gm.arange(3)) + TensorDataset(gm.arange(10, 12))
    assert isinstance(both, ConcatDataset) and len(both) == 5
    assert [both[i][0].item() for i in (0, 3, -1)] == [0, 10, 11]
    with pytest.raises(IndexError, match="index 5 is out of range for 5"):
        both[5]
    assert Subset(both, [4, 0])[0][0].item() == 11


def test_random_split() -> None:
    data = TensorDataset(gm.arange(10))
    a, b = random_split(data, [0.75, 0.25], seeded(1))
    assert (len(a), len(b)) == (8, 2)
    assert sorted([*a.indices, *b.indices]) == list(range(10))
    assert random_split(data, [8, 2], seeded(1))[1].indices == b.indices
    with pytest.raises(ValueError, match="sum of input lengths"):
        random_split(data, [3, 3])


def test_an_empty_part_of_a_split() -> None:
    with pytest.warns(UserWarning, match="index 1 is empty"):
        assert [len(part) for part in random_split(range(3), [3, 0])] == [3, 0]
    assert list(DataLoader(Subset(range(3), []))) == []


def test_samplers() -> None:
    assert sorted(RandomSampler(range(5), generator=seeded())) == list(range(5))
    long = list(RandomSampler(range(3), num_samples=7, generator=seeded()))
    assert len(long) == 7 and sorted(long[:3]) == sorted(long[3:6]) == [0, 1, 2]
    drawn = list(RandomSampler(range(3), True, 50, seeded()))
    assert len(drawn) == 50 and set(drawn) == {0, 1, 2}
    assert sorted(SubsetRandomSampler([7, 9])) == [7, 9]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]


def test_weighted_sampler() -> None:
    counts = Counter(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=seeded(2)))
    assert counts[0] == 0 and counts[2] / counts[1] == pytest.approx(3, rel=0.15)
    once = list(WeightedRandomSampler([1.0, 0.0, 5.0], 2, replacement=False))
    assert sorted(once) == [0, 2]


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda d: DataLoader(d, batch_size=0), ValueError, "batch_size=0"),
        (lambda d: DataLoader(d, num_workers=-1), ValueError, "non-negative"),
        (lambda d: DataLoader(d, shuffle=True, sampler=[0]), ValueError, "exclusive with shuffle"),
        (lambda d: DataLoader(d, batch_sampler=[[0]], batch_size=2), ValueError, "batch_sampler"),
        (lambda d: DataLoader(d, batch_size=None, drop_last=True), ValueError, "drop_last"),
        (lambda d: DataLoader(Stream(), shuffle=True), ValueError, "IterableDataset"),
        (lambda d: TensorDataset(gm.ones(2), gm.ones(3)), ValueError, "size mismatch.*2, 3"),
        (lambda d: TensorDataset(), ValueError, "at least one"),
        (lambda d: ConcatDataset([]), ValueError, "empty"),
        (lambda d: RandomSampler(d, num_samples=0), ValueError, "num_samples=0"),
        (lambda d: WeightedRandomSampler([-1.0, 2.0], 1), ValueError, "not negative"),
        (lambda d: WeightedRandomSampler([0.0], 1), ValueError, "above 0"),
        (lambda d: WeightedRandomSampler([1.0, 0.0], 2, False), ValueError, "without replacement"),
        (lambda d: WeightedRandomSampler([[1.0, 2.0]], 1), ValueError, r"shape \(1, 2\)"),
        (lambda d: WeightedRandomSampler([1.0], True), ValueError, "num_samples=True"),
        (lambda d: WeightedRandomSampler([1.0], 1, 3), ValueError, "replacement=3"),
        (lambda d: RandomSampler(d, num_samples=1.5), ValueError, "num_samples=1.5"),
        (lambda d: RandomSampler(d, replacement=3), TypeError, "replacement=3"),
        (lambda d: DataLoader(Subset(d, []), shuffle=True), ValueError, "num_samples=0"),
        (lambda d: BatchSampler(range(4), 2, 3), ValueError, "drop_last=3"),
        (lambda d: DataLoader(d, timeout=-1), ValueError, "timeout"),
        (lambda d: DataLoader(d, prefetch_factor=2), ValueError, "prefetch_factor.*num_workers"),
        (lambda d: DataLoader(d, num_workers=1, prefetch_factor=0), ValueError, "positive, not 0"),
        (lambda d: DataLoader(d, persistent_workers=True), ValueError, "persistent_workers"),
        (lambda d: setattr(DataLoader(d), "batch_size", 2), ValueError, "batch_size attribute"),
        (lambda d: random_split(d, [0.5, 0.6]), ValueError, "1.1, does not equal .* 3"),
        (lambda d: random_split(d, [-0.5, 1.5]), ValueError, "index 0 is not at least 0"),
        (lambda d: random_split(d, [1.5, 1.5]), TypeError, "float"),
        (lambda d: Dataset()[0], NotImplementedError, "__getitem__"),
    ],
)
def test_what_is_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(TensorDataset(gm.arange(3)))
