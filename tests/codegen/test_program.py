"""Program tables on the thread pool: segments, hosts, checks, threads, forks, the control word."""

import ctypes
import os
import textwrap
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_programs import TEXT, run

from gristmill.codegen import kernels
from gristmill.codegen.detect import level
from gristmill.codegen.llvm.threads import get_num_threads, set_num_threads
from gristmill.codegen.program import CONSTANT, Check, Host, Program, Segment, Step


@pytest.fixture(scope="module")
def code(session_cache):
    return kernels.find(["test program", TEXT], level("x86-64"), lambda: TEXT)


@pytest.fixture(autouse=True)
def threads_as_before():
    before = get_num_threads()
    yield
    set_num_threads(before)


def add(code, array_slot, by, iterations, **step):
    segment = Segment(((array_slot, 0), (CONSTANT, by)), iterations)
    return Step(code.address("add"), (segment,), **step)


def test_steps_run_in_order(code):
    x = np.zeros(10, np.int64)
    program = Program([add(code, 0, 2, 10), add(code, 0, 3, 4)], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    assert program.run(slots) is None
    assert x.tolist() == [5] * 4 + [2] * 6


def test_arguments_iterations_and_grain_come_from_slots(code):
    x = np.zeros(10, np.int64)
    segment = Segment(((0, 16), (1, -1)), (2, 1))
    step = Step(code.address("add"), (segment,), parallel=True, grain=(3, 0))
    program = Program([step], 4, [code])
    slots = program.slots()
    slots.values[0:4] = [x.ctypes.data, 8, 6, 2]
    program.run(slots)
    assert x.tolist() == [0, 0] + [7] * 7 + [0]
    slots.values[2] = -1  # no iterations at all
    program.run(slots)
    assert x.tolist() == [0, 0] + [7] * 7 + [0]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=8),
    grain=st.integers(0, 9),
    parallel=st.booleans(),
)
def test_every_iteration_of_every_segment_runs_once(code, threads, sizes, grain, parallel):
    set_num_threads(threads)
    arrays = [np.zeros(n + 2, np.int64) for n in sizes]
    segments = tuple(Segment(((k, 8), (CONSTANT, 1)), n) for k, n in enumerate(sizes))
    step = Step(code.address("add"), segments, parallel=parallel, grain=grain)
    program = Program([step] * 3, len(sizes), [code])
    slots = program.slots()
    for k, array in enumerate(arrays):
        slots.values[k] = array.ctypes.data
    assert program.run(slots) is None
    assert [a.tolist() for a in arrays] == [[0] + [3] * n + [0] for n in sizes]


def test_chunks_are_cut_by_the_grain(code):
    set_num_threads(2)
    x = np.zeros(20, np.int64)
    step = Step(code.address("spans"), (Segment(((0, 0),), 20),), parallel=True, grain=6)
    program = Program([step], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    program.run(slots)
    assert {i: int(hi) for i, hi in enumerate(x) if hi} == {0: 6, 6: 12, 12: 18, 18: 20}


def test_more_chunks_than_tickets(code):
    set_num_threads(2)
    x = np.zeros(200_001, np.int64)
    program = Program([add(code, 0, 1, x.size, parallel=True)], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    program.run(slots)
    assert (x == 1).all()


def test_threads_share_a_step(code):
    set_num_threads(3)
    x = np.zeros(64, np.int64)
    step = Step(code.address("thread"), (Segment(((0, 0),), 64),), parallel=True)
    program = Program([step], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    seen = set()
    for _ in range(50):
        program.run(slots)
        seen |= set(x.tolist())
        if len(seen) == 3:
            break
    assert len(seen) == 3 and threading.get_native_id() in seen
    set_num_threads(1)
    x[:] = 0
    program.run(slots)
    assert x.tolist() == [threading.get_native_id()] + [0] * 63  # the whole range in one call


def test_hosts_run_between(code):
    x = np.zeros(4, np.int64)
    seen = []

    def first(slots):
        seen.append(("first", x.tolist()))
        slots.values[1] = 50

    def second(slots):
        seen.append(("second", x.tolist()))

    by_slot = Step(code.address("add"), (Segment(((0, 0), (1, 0)), 4),))
    steps = [add(code, 0, 1, 4), Host(0), by_slot, Host(1), Host(1), by_slot]
    program = Program(steps, 2, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    assert program.run(slots, (first, second)) is None
    assert seen == [("first", [1] * 4), ("second", [51] * 4), ("second", [51] * 4)]
    assert x.tolist() == [101] * 4


def test_a_hosts_exception_stops_the_program(code):
    x = np.zeros(4, np.int64)
    program = Program([add(code, 0, 1, 4), Host(0), add(code, 0, 1, 4)], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    with pytest.raises(ZeroDivisionError):
        program.run(slots, [lambda slots: 1 // 0])
    assert x.tolist() == [1] * 4


def test_a_check_stops(code):
    x = np.zeros(4, np.int64)
    mailbox = np.zeros(3, np.int64)
    program = Program([add(code, 0, 1, 4), Check(1, 16), Host(0), Check(1, 8)], 2, [code])
    slots = program.slots()
    slots.values[0:2] = [x.ctypes.data, mailbox.ctypes.data]
    assert program.run(slots, [lambda slots: None]) is None
    mailbox[2] = 7
    assert program.run(slots, [lambda slots: None]) == 1
    mailbox[:] = (0, 7, 0)
    assert program.run(slots, [lambda slots: None]) == 3
    assert x.tolist() == [3] * 4


def test_a_program_reads_as_text(code):
    segments = (Segment(((0, 0), (CONSTANT, 3)), 10), Segment(((1, 64),), (2, -1)))
    steps = [
        Step(0x10, segments, parallel=True, grain=4, name="add"),
        Check(1, 8),
        Host(0),
        Step(0x10, segments[:1]),
    ]
    assert str(Program(steps, 3)) == textwrap.dedent("""\
        0: add parallel by 4: 10 of (s0, 3); s2-1 of (s1+64)
        1: check s1+8
        2: host 0
        3: 0x10 serial: 10 of (s0, 3)""")


def test_scalars_travel_as_bits(code):
    program = Program([], 2)
    slots = program.slots()
    slots.floats[1] = 2.5
    assert slots.values[1] == np.float64(2.5).view(np.int64)


def test_sleeping_workers_are_not_woken_for_little(code):
    script = """
        import ctypes, time
        from gristmill.codegen import kernels
        from gristmill.codegen.detect import level
        from gristmill.codegen.program import Program, Segment, Step
        code = kernels.find(["test program", TEXT], level("x86-64"), lambda: TEXT)
        def run(work):
            x = (ctypes.c_int64 * 64)()
            step = Step(code.address("thread"), (Segment(((0, 0),), 64),), True, work=work)
            program = Program([step], 1, [code])
            slots = program.slots()
            slots.values[0] = ctypes.addressof(x)
            program.run(slots)
            return len([tid for tid in x if tid])
        assert run(1000) == 1      # one call for the whole range: no worker was even started
        assert run(None) == 64
        assert run(1000_000) == 64
    """
    run(f"TEXT = {TEXT!r}\n" + textwrap.dedent(script), GRISTMILL_THREADS="2")


def test_an_empty_program_runs():
    program = Program([], 0)
    assert program.run(program.slots()) is None


def test_a_slot_that_is_not_there_is_refused(code):
    with pytest.raises(ValueError, match="a step names slot 2, there are 2"):
        Program([add(code, 2, 1, 1)], 2, [code])


def test_a_program_keeps_its_code():
    text = TEXT + "; kept\n"
    kept = kernels.find([text], level("x86-64"), lambda: text)
    x = np.zeros(4, np.int64)
    program = Program([add(kept, 0, 1, 4)], 1, [kept])
    del kept
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    program.run(slots)
    assert x.tolist() == [1] * 4


def test_equal_parts_share_one_code(code):
    again = kernels.find(["test program", TEXT], level("x86-64"), lambda: "never written")
    assert again is code


def test_callers_at_once(code):
    set_num_threads(3)
    wrong = []

    def call(by):
        x = np.zeros(300, np.int64)
        program = Program([add(code, 0, by, 300, parallel=True, grain=7)], 1, [code])
        slots = program.slots()
        slots.values[0] = x.ctypes.data
        for i in range(3000):
            program.run(slots)
            if i % 100 == 0 and not (x == (i + 1) * by).all():
                wrong.append((by, i))

    callers = [threading.Thread(target=call, args=(by,)) for by in (1, 2, 3, 4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


@pytest.mark.parametrize("threads", [2, 4])
def test_many_small_jobs(code, threads):
    set_num_threads(threads)
    x = np.zeros(64, np.int64)
    step = add(code, 0, 1, (1, 0), parallel=True)
    program = Program([step] * 100, 2, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    expected = np.zeros(64, np.int64)
    draw = np.random.default_rng(0)
    for _ in range(100):
        slots.values[1] = count = int(draw.integers(1, 65))
        program.run(slots)
        expected[:count] += 100
        assert (x == expected).all()


def test_a_forked_child_has_its_own_threads(code):
    set_num_threads(3)
    x = np.zeros(64, np.int64)
    step = Step(code.address("thread"), (Segment(((0, 0),), 64),), parallel=True)
    program = Program([step], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    program.run(slots)
    child = os.fork()
    if child == 0:
        seen = ran_by(program, slots, x, lambda ids: len(ids) == 3 and os.getpid() in ids)
        os._exit(len(seen) != 3 or os.getpid() not in seen)
    assert os.waitpid(child, 0)[1] == 0
    own = threading.get_native_id()
    seen = ran_by(program, slots, x, lambda ids: own in ids)
    assert own in seen and child not in seen


def ran_by(program, slots, x, enough):
    """Which threads took chunks, over as many runs as it takes: on a busy machine one may come too late for any."""
    seen = set()
    for _ in range(5000):
        program.run(slots)
        seen |= set(x.tolist())
        if enough(seen):
            break
    return seen


def test_the_control_register_is_as_before(code):
    control = ctypes.CFUNCTYPE(ctypes.c_uint32)(code.address("control"))
    set_num_threads(2)
    x = np.zeros(300, np.int64)
    program = Program([add(code, 0, 1, 300, parallel=True, grain=7)], 1, [code])
    slots = program.slots()
    slots.values[0] = x.ctypes.data
    before = control()
    program.run(slots)
    assert control() & ~0x3F == before & ~0x3F == 0x1F80  # the low bits are sticky flags


def test_thread_counts():
    set_num_threads(5)
    assert get_num_threads() == 5
    for wrong in (0, -1, 5000):
        with pytest.raises(ValueError, match="expected 1 to 1024"):
            set_num_threads(wrong)


def test_the_environment_counts_threads():
    script = "from gristmill.codegen.llvm.threads import get_num_threads as n; print(n())"
    assert run(script, GRISTMILL_THREADS="7") == "7"
    assert "GRISTMILL_THREADS is 'many', expected a number" in run(
        """
        from gristmill.codegen.llvm.threads import get_num_threads
        try:
            get_num_threads()
        except ValueError as error:
            print(error)
        """,
        GRISTMILL_THREADS="many",
    )


def test_idle_workers_burn_nothing_and_nobody_is_pinned(code):
    script = """
        import os, time
        from gristmill.codegen import kernels
        from gristmill.codegen.detect import level
        from gristmill.codegen.program import Program, Segment, Step
        allowed = os.sched_getaffinity(0)
        code = kernels.find(["test program", TEXT], level("x86-64"), lambda: TEXT)
        x = (__import__("ctypes").c_int64 * 64)()
        step = Step(code.address("thread"), (Segment(((0, 0),), 64),), parallel=True)
        program = Program([step], 1, [code])
        slots = program.slots()
        slots.values[0] = __import__("ctypes").addressof(x)
        for _ in range(20):
            program.run(slots)
            time.sleep(0.003)
        assert os.sched_getaffinity(0) == allowed
        time.sleep(0.02)
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.05
        assert len(os.listdir("/proc/self/task")) >= 3
    """
    run(f"TEXT = {TEXT!r}\n" + textwrap.dedent(script), GRISTMILL_THREADS="3")


def test_a_warm_start_loads_no_llvm(code):
    Program([], 0)  # builds the walker, if nobody has
    script = """
        import sys
        from gristmill.codegen.program import Program
        program = Program([], 0)
        assert program.run(program.slots()) is None
        assert not any(name.startswith("llvmlite") for name in sys.modules)
    """
    run(script)
