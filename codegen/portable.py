"""The walker's portable twin: the same tables, walked in Python with threads of Python's own."""

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from .llvm.threads import get_num_threads
from .llvm.walk import CHECK, LITTLE, PARALLEL, SEGMENT_WORDS, SERIAL, STEP_WORDS

_PHASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def walk(table: int, first: int, slots: int) -> int:
    """Run the steps of a packed table from ``first`` on; returns where it stopped."""
    while True:
        step = _words(table + 8 * STEP_WORDS * first, STEP_WORDS)
        if step[0] in (SERIAL, PARALLEL):
            _run(step, table, slots)
        elif step[0] != CHECK or _words(_value(step[1], step[2], slots), 1)[0]:
            return first
        first += 1


def _run(step: list[int], table: int, slots: int) -> None:
    """Call a phase function for each segment, or for each chunk where chunks may be spread."""
    phase = _PHASE(step[1])
    threads = get_num_threads()
    spread = step[0] == PARALLEL and threads > 1 and step[7] >= LITTLE
    grain = max(1, _value(step[4], step[5], slots))
    at = table + 8 * step[2]
    calls, kept = [], []
    for _ in range(step[3]):
        slot, offset, count = _words(at, SEGMENT_WORDS)
        pairs = _words(at + 8 * SEGMENT_WORDS, 2 * count)
        at += 8 * (SEGMENT_WORDS + 2 * count)
        values = [_value(pairs[i], pairs[i + 1], slots) for i in range(0, 2 * count, 2)]
        arguments = (ctypes.c_int64 * max(1, count))(*values)
        kept.append(arguments)
        iterations = _value(slot, offset, slots)
        width = grain if spread else max(1, iterations)
        for lo in range(0, iterations, width):
            calls.append((ctypes.addressof(arguments), lo, min(lo + width, iterations)))
    todo = iter(calls)

    def run() -> None:
        """Take the next call while there is one: the caller does so too."""
        for call in todo:
            phase(*call)

    helpers = min(threads, len(calls)) - 1 if spread else 0
    others: list[Future[None]] = []
    try:
        with contextlib.suppress(RuntimeError):  # no more threads, or the end: the caller does it all
            for _ in range(helpers):
                others.append(_executor(threads - 1).submit(run))
        run()
    finally:
        _settle(todo, others)


def _settle(todo: Iterator[Any], others: Sequence[Future[None]]) -> None:
    """After an interrupt too, nobody may still be at work on memory that is freed next."""
    interrupt: KeyboardInterrupt | None = None
    while not all(other.done() for other in others):
        try:
            for _ in todo:
                pass
            wait(others)
        except KeyboardInterrupt as again:
            interrupt = again
    if interrupt is not None:
        raise interrupt


def _value(slot: int, offset: int, slots: int) -> int:
    return ctypes.c_int64.from_address(slots + 8 * slot).value + offset


def _words(address: int, count: int) -> list[int]:
    return list((ctypes.c_int64 * count).from_address(address))


@functools.lru_cache(maxsize=1)
def _executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gristmill")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_executor.cache_clear)
