"""DataLoader: batches of a data set, in the order of a sampler, made here or by threads ahead of time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ...frontend.random import Generator
from .collate import default_collate
from .dataset import IterableDataset, Subset, TensorDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler


class DataLoader:
    """Iterate over a data set in batches.

    ``num_workers`` threads read ahead, ``prefetch_factor`` batches each; batches come in the
    sampler's order whatever their number. ``pin_memory``, ``timeout``,
    ``multiprocessing_context``, ``persistent_workers``, ``pin_memory_device`` and ``in_order``
    are taken for compatibility: there are no worker processes and no pinned memory.

    >>> import gristmill as gm
    >>> loader = DataLoader(TensorDataset(gm.arange(5)), batch_size=2)
    >>> [x.tolist() for x, in loader]
    [[0, 1], [2, 3], [4]]
    """

    _is_made = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(
            num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context
        )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
        if isinstance(dataset, IterableDataset) and (
            shuffle or sampler is not None or batch_sampler is not None
        ):
            raise ValueError(
                "DataLoader with IterableDataset: expected unspecified shuffle, sampler and batch_sampler options"
            )
        if batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        self.dataset, self.num_workers, self.generator = dataset, num_workers, generator
        self.timeout, self.persistent_workers = timeout, persistent_workers
        self.pin_memory = pin_memory
        self.prefetch_factor, self.worker_init_fn = prefetch_factor or 2, worker_init_fn
        self.collate_fn = collate_fn or (
            default_collate if batch_size is not None or batch_sampler is not None else _as_is
        )
        self.drop_last = drop_last
        self.batch_size = None if batch_sampler is not None else batch_size
        self.sampler = sampler if sampler is not None else self._order(bool(shuffle))
        self.batch_sampler = batch_sampler
        if batch_sampler is None and batch_size is not None and self.sampler is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self._is_made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_made and name in _FIXED:
            raise ValueError(
                f"{name} attribute should not be set after DataLoader is initialized: make another one"
            )
        object.__setattr__(self, name, value)

    def _order(self, shuffle: bool) -> Any:
        if isinstance(self.dataset, IterableDataset):
            return None
        return (
            RandomSampler(self.dataset, generator=self.generator)
            if shuffle
            else SequentialSampler(self.dataset)
        )

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            count = len(self.dataset)  # type: ignore[arg-type]
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        places: Any = self.batch_sampler if self.batch_sampler is not None else self.sampler
        return len(places)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.dataset, IterableDataset):
            return self._stream()
        places = iter(self.batch_sampler if self.batch_sampler is not None else self.sampler)
        return self._ahead(places) if self.num_workers else map(self._fetch, places)

    def _stream(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _fetch(self, places: Any) -> Any:
        """One batch (or one sample); rows of tensors are gathered at once."""
        if self.batch_sampler is None:
            return self.collate_fn(self.dataset[places])
        if self.collate_fn is default_collate and _is_tensors(self.dataset):
            return list(self.dataset[list(places)])
        return self.collate_fn([self._sample(i) for i in places])

    def _sample(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            error.add_note(f"while reading sample {index} of {type(self.dataset).__name__}")
            raise

    def _ahead(self, places: Iterator[Any]) -> Iterator[Any]:
        numbers = itertools.count()

        def start() -> None:
            if self.worker_init_fn is not None:
                self.worker_init_fn(next(numbers))

        with ThreadPoolExecutor(self.num_workers, "gristmill-loader", start) as pool:
            waiting: deque[Future[Any]] = deque()
            for batch in itertools.islice(places, self.num_workers * self.prefetch_factor):
                waiting.append(pool.submit(self._fetch, batch))
            try:
                while waiting:
                    done = waiting.popleft()
                    for batch in itertools.islice(places, 1):
                        waiting.append(pool.submit(self._fetch, batch))
                    yield done.result()
            finally:
                for left in waiting:
                    left.cancel()


_FIXED = {"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"}
"""What the order of the batches was made from."""


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool, context: Any
) -> None:
    """Whether what is said of workers fits their number."""
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable reading ahead"
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch_factor is not None and prefetch_factor <= 0:
        raise ValueError(f"prefetch_factor option should be positive, not {prefetch_factor}")
    for name, given in (
        ("prefetch_factor", prefetch_factor is not None),
        ("persistent_workers", persistent),
        ("multiprocessing_context", context is not None),
    ):
        if given and num_workers == 0:
            raise ValueError(f"{name} option needs num_workers > 0")


def _as_is(sample: Any) -> Any:
    return sample


def _is_tensors(dataset: Any) -> bool:
    """Whether a list of indices gives the same as its samples one by one, stacked."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset
