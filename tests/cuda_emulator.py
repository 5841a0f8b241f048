"""CUDA C on a processor: compile a kernel's text with g++ and launch it, in the place of a GPU."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import mmap
import platform
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent / "codegen" / "emulator"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing",
         "-ffp-contract=off", "-fwrapv", "-Wno-unknown-pragmas"]  # fmt: skip
SEEDS = (3, 6)  # descending, and shuffled; in both a warp runs as far as it can

Args = Sequence[np.ndarray | np.generic | int]


class LaunchError(RuntimeError):
    """A kernel that a GPU would not run, or would run with luck."""


def missing() -> str:
    """Why kernels cannot be run here, or nothing."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "the emulator is written for x86-64 Linux"
    return "" if shutil.which("g++") else "g++ is not on PATH"


@functools.cache
def _folder() -> Path:
    """Where this process builds; the runtime is compiled once."""
    folder = Path(tempfile.mkdtemp(prefix="gristmill-emulator-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _compile("-c", str(HERE / "emu_runtime.cpp"), "-o", str(folder / "runtime.o"))
    return folder


def _compile(*arguments: str, text: str = "") -> None:
    done = subprocess.run(
        ["g++", *FLAGS, *arguments], input=text, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"g++ refuses the text:\n{done.stderr[:4000]}")


@functools.cache
def build(text: str) -> ctypes.CDLL:
    """The kernels of a text as a library."""
    names = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(", text)
    text = re.sub(r"(?m)^#include <cuda_\w+\.h>$", "", text)
    entries = "".join(f"\nEMU_ENTRY({name})" for name in names)
    whole = f'#include "emu.h"\n#line 1 "kernel.cu"\n{text}{entries}\n'
    library = _folder() / f"{hashlib.sha256(whole.encode()).hexdigest()[:16]}.so"
    runtime = str(_folder() / "runtime.o")
    _compile("-nostdinc++", "-shared", "-I", str(HERE), runtime, "-x", "c++", "-", "-o",
             str(library), text=whole)  # fmt: skip
    loaded = ctypes.CDLL(str(library))
    loaded.emu_message.restype = ctypes.c_char_p
    return loaded


def launch(text: str, name: str, grid: int, block: int, args: Args, seed: int) -> None:
    """Run ``grid`` blocks of ``block`` threads; arrays are passed by address, integers as i64."""
    library = build(text)
    dims = (ctypes.c_uint * 6)(grid, 1, 1, block, 1, 1)
    if getattr(library, f"{name}__emu")(_packed(args), dims, ctypes.c_uint(seed)):
        raise LaunchError(library.emu_message().decode())


def _packed(args: Args) -> bytes:
    out = b""
    for a in args:
        if isinstance(a, np.ndarray):
            raw = struct.pack("P", a.ctypes.data)
        else:
            raw = a.tobytes() if isinstance(a, np.generic) else struct.pack("q", a)
        out += b"\0" * (-len(out) % len(raw)) + raw
    return out


def guarded(array: np.ndarray) -> Any:
    """A copy whose last byte is the last of its page, before one that nobody may read."""
    page, size = mmap.PAGESIZE, array.nbytes
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(base + pages * page), page, 0):
        raise OSError("mprotect failed")
    flat = np.frombuffer(memory, array.dtype, array.size, pages * page - size)
    out = flat.reshape(array.shape)
    out[...] = array
    return out


def run(
    kernel: Any, emitted: Any, arrays: dict[str, np.ndarray], sizes: dict[str, int], seed: int
) -> dict[str, np.ndarray]:
    """Launch all of a written kernel on copies of ``arrays`` that nobody may read past."""
    held = {name: _copy(a) for name, a in arrays.items()}
    return run_in_place(kernel, emitted, held, sizes, seed)


def run_in_place(
    kernel: Any, emitted: Any, arrays: dict[str, np.ndarray], sizes: dict[str, int], seed: int
) -> dict[str, np.ndarray]:
    """Launch all of a written kernel on ``arrays``; the workspace begins as NaN."""
    known = dict(sizes)
    for size in kernel.sizes:
        if size.numerator is not None:
            known[size.name] = _number(size.numerator, known) // size.divisor
    room = {name: np.full(_number(n, known), 0xFF, np.uint8) for name, n in emitted.workspace}
    held = arrays | {name: guarded(a) for name, a in room.items()}
    given = [held[name] if name in held else known[name] for name in emitted.arguments]
    for one in emitted.launches:
        launch(emitted.text, one.symbol, _number(one.grid, known), one.block, given, seed)
    return held


def _number(n: Any, known: dict[str, int]) -> int:
    return n if isinstance(n, int) else n.evaluate(known)


def _copy(a: np.ndarray) -> np.ndarray:
    """A guarded copy with the same strides."""
    order = sorted(range(a.ndim), key=lambda d: -a.strides[d])
    return guarded(np.array(a.transpose(order), order="C")).transpose(np.argsort(order))
