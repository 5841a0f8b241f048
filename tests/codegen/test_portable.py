"""The portable twin of the walker: the same results, and nobody left at work after an interrupt or at the end."""

import textwrap

import pytest
from native_programs import TEXT, run

from gristmill.codegen import kernels
from gristmill.codegen.detect import level

PREAMBLE = f"""
import numpy as np
from gristmill.codegen import kernels
from gristmill.codegen.detect import level
from gristmill.codegen.program import CONSTANT, Check, Host, Program, Segment, Step
TEXT = {TEXT!r}
code = kernels.find(["test program", TEXT], level("x86-64"), lambda: TEXT)
"""


@pytest.fixture(scope="module")
def code(session_cache):
    return kernels.find(["test program", TEXT], level("x86-64"), lambda: TEXT)


def test_the_portable_twin_agrees(code):
    script = """
        x, y, mailbox = np.zeros(9, np.int64), np.zeros(5, np.int64), np.zeros(2, np.int64)
        segments = (Segment(((0, 8), (CONSTANT, 3)), 7), Segment(((1, 0), (2, 1)), (3, 0)))
        steps = [Step(code.address("add"), segments, True, 2), Check(4, 8), Host(0),
                 Step(code.address("add"), segments[:1])]
        program = Program(steps, 5, [code])
        slots = program.slots()
        slots.values[:5] = [x.ctypes.data, y.ctypes.data, 9, 5, mailbox.ctypes.data]
        seen = []
        assert program.run(slots, [seen.append]) is None
        assert seen == [slots]
        assert x.tolist() == [0] + [6] * 7 + [0] and y.tolist() == [10] * 5
        mailbox[1] = 1
        assert program.run(slots, [seen.append]) == 1
        assert x.tolist() == [0] + [9] * 7 + [0]
        print("agrees")
    """
    text = PREAMBLE + textwrap.dedent(script)
    for threads in ("1", "3"):
        assert run(text, GRISTMILL_PORTABLE="1", GRISTMILL_THREADS=threads) == "agrees"


def test_an_interrupt_leaves_no_portable_helper_at_work(code):
    """Helpers that went on taking chunks would write to memory that is used again."""
    script = """
        import ctypes, os, signal, threading, time
        x = np.zeros(4000, np.int64)
        step = Step(code.address("add"), (Segment(((0, 0), (1, 0)), 4000),), True)
        program = Program([step], 2, [code])
        def later():
            for _ in range(40):
                time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=later)
        thread.start()
        while thread.is_alive():
            try:
                slots = program.slots()
                slots.values[:2] = [x.ctypes.data, 1]
                program.run(slots)
                del slots
                before = x.copy()
                time.sleep(0.0002)
                assert (x == before).all()
            except KeyboardInterrupt:
                before = x.copy()
                time.sleep(0.0002)
                assert (x == before).all()
        print("still")
    """
    text = PREAMBLE + textwrap.dedent(script)
    assert run(text, GRISTMILL_PORTABLE="1", GRISTMILL_THREADS="4") == "still"


def test_a_portable_step_at_the_end_of_the_interpreter(code):
    """No thread can be had any more: the caller runs all of it."""
    script = """
        import atexit
        x = np.zeros(64, np.int64)
        step = Step(code.address("add"), (Segment(((0, 0), (1, 0)), 64),), True)
        program = Program([step], 2, [code])
        def last():
            slots = program.slots()
            slots.values[:2] = [x.ctypes.data, 3]
            program.run(slots)
            print(x.sum())
        atexit.register(last)
    """
    text = PREAMBLE + textwrap.dedent(script)
    assert run(text, GRISTMILL_PORTABLE="1", GRISTMILL_THREADS="4") == "192"
