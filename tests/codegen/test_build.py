"""From LLVM IR text to code that runs: levels of the machine, errors, mapping and unmapping."""

import ctypes
import gc
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from gristmill.codegen.detect import host, level
from gristmill.codegen.llvm import elf
from gristmill.codegen.llvm.build import assembly, build
from gristmill.codegen.llvm.load import LoadError, load
from gristmill.codegen.llvm.symbols import register
from gristmill.ir.errors import CompileError
from gristmill.ir.target import Target

SQUARE = """
@table = internal constant [4 x float] [float 1.0, float 2.0, float 3.0, float 4.0]
@count = global i64 5
define void @square(ptr %args, i64 %lo, i64 %hi) {
  %p = load ptr, ptr %args
  %x = load <16 x float>, ptr %p, align 4
  %y = fmul <16 x float> %x, %x
  store <16 x float> %y, ptr %p, align 4
  %c = load i64, ptr @count
  %d = add i64 %c, 1
  store i64 %d, ptr @count
  ret void
}
define float @look(i64 %i) {
  %p = getelementptr float, ptr @table, i64 %i
  %x = load float, ptr %p
  %y = call float @expf(float %x)
  ret float %y
}
declare float @expf(float)
"""

LEVELS = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]


def supported():
    return LEVELS[: LEVELS.index(host().name) + 1]


@pytest.mark.parametrize("name", LEVELS)
def test_one_text_runs_at_every_level(name):
    if name not in supported():
        pytest.skip("not this machine")
    code = load(build(SQUARE, level(name)))
    x = np.arange(16, dtype=np.float32)
    args = (ctypes.c_int64 * 1)(x.ctypes.data)
    square = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    square(code.address("square"))(ctypes.addressof(args), 0, 1)
    assert (x == np.arange(16) ** 2).all()
    assert ctypes.c_int64.from_address(code.address("count")).value == 6
    look = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(code.address("look"))
    assert look(2) == pytest.approx(np.exp(3.0))


def test_the_level_decides_the_registers():
    wide, middle, narrow = (assembly(SQUARE, level(LEVELS[i])) for i in (3, 2, 0))
    assert "zmm" in wide
    assert "zmm" not in middle and "ymm" in middle
    assert "ymm" not in narrow and "xmm" in narrow


def test_lanes():
    assert [level(name).lanes(4) for name in LEVELS] == [4, 4, 8, 16]
    gpu = Target("sm_90", "nvptx64-nvidia-cuda", "", "simt", warp=32, shared_memory=48 << 10)
    assert gpu.lanes(4) == 32


def test_targets_are_values():
    assert level("x86-64-v3") == level("x86-64-v3")
    assert host().has("sse2") and not level("x86-64").has("avx2")
    with pytest.raises(ValueError, match=r"'x86-64-v9' is unknown, expected one of x86-64, "):
        level("x86-64-v9")
    with pytest.raises(ValueError, match="expected 'vector' or 'simt'"):
        Target("t", "t", "", "magic")


def test_a_bad_text_is_quoted():
    text = "define i32 @f(i32 %x) {\n  %y = add i32 %x, 1.5\n  ret i32 %y\n}\n"
    with pytest.raises(CompileError) as caught:
        build(text, host())
    assert "line 2:   %y = add i32 %x, 1.5" in str(caught.value)


def test_a_broken_module_is_refused():
    text = "define i64 @f() {\n  br label %b\nb:\n  %x = add i64 %y, 1\n"
    text += "  %y = add i64 1, 1\n  ret i64 %x\n}\n"
    with pytest.raises(CompileError, match="does not dominate all uses"):
        build(text, host())


@pytest.mark.parametrize(
    "text",
    [
        "declare void @nobody_has_this()\n",
        "declare void @llvm.nobody_has_this()\n"
        "define void @f() {\n  call void @llvm.nobody_has_this()\n  ret void\n}\n",
    ],
)
def test_an_unknown_symbol_is_named(text):
    with pytest.raises(CompileError, match="nobody_has_this"):
        build(text, host())


def test_code_calls_what_was_registered():
    seen = []
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64)(seen.append)
    register("test_callback", ctypes.cast(callback, ctypes.c_void_p).value)
    text = "declare void @test_callback(i64)\n"
    text += "define void @f() {\n  call void @test_callback(i64 7)\n  ret void\n}\n"
    code = load(build(text, host()))
    ctypes.CFUNCTYPE(None)(code.address("f"))()
    assert seen == [7]


def test_an_unknown_name_lists_the_known():
    with pytest.raises(KeyError, match="no symbol 'cube'; it has count, look, square"):
        load(build(SQUARE, host())).address("cube")


def pages(code, name):
    """The permissions of the page where a symbol lies."""
    address = code.address(name)
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if begin <= address < end:
                return line.split()[1][:3]
    return "---"


def test_no_page_is_writable_and_executable():
    code = load(build(SQUARE, host()))
    assert pages(code, "square") == "r-x"
    assert pages(code, "count") == "rw-"


def test_code_is_unmapped_with_its_last_reference():
    code = load(build(SQUARE, host()))
    address = code.address("square")
    again = code
    del code
    assert pages(again, "square") == "r-x"
    del again
    with open("/proc/self/maps") as maps:
        spans = [[int(p, 16) for p in line.split()[0].split("-")] for line in maps if "r-x" in line]
    assert not any(begin <= address < end for begin, end in spans)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_loads_and_drops_leave_memory_flat():
    data = build(SQUARE, host())
    for _ in range(200):
        load(data)
    gc.collect()
    before = resident()
    for _ in range(2000):
        load(data)
    gc.collect()
    assert resident() - before < 1 << 20


@pytest.mark.parametrize("size", [0, 3, 63, 64, 200])
def test_a_damaged_object_is_refused(size):
    with pytest.raises(LoadError):
        load(build(SQUARE, host())[:size])


def test_a_foreign_object_is_refused():
    data = bytearray(build(SQUARE, host()))
    data[18] = 183  # the machine number of AArch64
    with pytest.raises(LoadError, match="not an x86-64 ELF object"):
        load(bytes(data))


def test_an_object_lists_what_it_needs():
    assert elf.undefined(build(SQUARE, host())) == ["expf"]


def test_detection_and_loading_need_no_llvm(tmp_path):
    path = tmp_path / "square.o"
    path.write_bytes(build(SQUARE, host()))
    script = f"""
        import sys
        from pathlib import Path
        from gristmill.codegen.detect import host
        from gristmill.codegen.llvm.load import load
        host()
        load(Path({str(path)!r}).read_bytes()).address("square")
        assert not any(name.startswith("llvmlite") for name in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, env=environment(GRISTMILL_PORTABLE="0"))


def environment(**more):
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": top, **more}


def test_the_portable_loader_agrees(tmp_path):
    path = tmp_path / "square.o"
    path.write_bytes(build(SQUARE, host()))
    script = f"""
        import ctypes
        from pathlib import Path
        from gristmill.codegen.llvm.load import load, portable
        assert portable()
        code = load(Path({str(path)!r}).read_bytes())
        look = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(code.address("look"))
        assert abs(look(0) - 2.7182818) < 1e-6
        try:
            code.address("cube")
        except KeyError:
            print("refused")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True, env=environment(GRISTMILL_PORTABLE="1"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "refused\n"
