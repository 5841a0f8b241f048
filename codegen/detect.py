"""The target at hand, read from the system's own files so that LLVM need not be loaded."""

import functools
import os
import platform
import re
from dataclasses import replace
from pathlib import Path

from ..ir.target import Target

_SYSTEM = Path("/sys/devices/system/cpu")

# What each level of the x86-64 psABI adds, as (name in /proc/cpuinfo, name in LLVM).
_LEVELS: dict[str, tuple[tuple[str, str], ...]] = {
    "x86-64": (("fxsr", "fxsr"), ("cx8", "cx8"), ("sse2", "sse2")),
    "x86-64-v2": (
        ("cx16", "cx16"), ("lahf_lm", "sahf"), ("popcnt", "popcnt"), ("pni", "sse3"),
        ("ssse3", "ssse3"), ("sse4_1", "sse4.1"), ("sse4_2", "sse4.2"),
    ),
    "x86-64-v3": (
        ("avx", "avx"), ("avx2", "avx2"), ("bmi1", "bmi"), ("bmi2", "bmi2"), ("f16c", "f16c"),
        ("fma", "fma"), ("abm", "lzcnt"), ("movbe", "movbe"),
    ),
    "x86-64-v4": (
        ("avx512f", "avx512f"), ("avx512bw", "avx512bw"), ("avx512cd", "avx512cd"),
        ("avx512dq", "avx512dq"), ("avx512vl", "avx512vl"),
    ),
}  # fmt: skip

# Extensions that no level holds; used when the machine has them and is at level 4.
_EXTRAS = (
    ("avx512ifma", "avx512ifma"), ("avx512vbmi", "avx512vbmi"), ("avx512_vbmi2", "avx512vbmi2"),
    ("avx512_vnni", "avx512vnni"), ("avx512_bitalg", "avx512bitalg"),
    ("avx512_vpopcntdq", "avx512vpopcntdq"), ("avx512_bf16", "avx512bf16"),
    ("avx512_fp16", "avx512fp16"), ("gfni", "gfni"),
)  # fmt: skip

_WIDTH = {"x86-64": (128, 16), "x86-64-v2": (128, 16), "x86-64-v3": (256, 16),
          "x86-64-v4": (512, 32)}  # fmt: skip


@functools.cache
def host() -> Target:
    """The machine this process runs on, with all it can do."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return _generic()
    flags = _cpu_flags()
    name = "x86-64"
    for candidate, needs in _LEVELS.items():
        if not all(flag in flags for flag, _ in needs):
            break
        name = candidate
    target = level(name)
    if name != "x86-64-v4":
        return target
    extra = [f"+{feature}" for flag, feature in _EXTRAS if flag in flags]
    return replace(target, features=",".join(sorted([*target.features.split(","), *extra])))


@functools.cache
def level(name: str) -> Target:
    """This machine as if it had only one level of the x86-64 psABI (``"x86-64-v3"``).

    The caches and cores are the host's own. Raises ``ValueError`` for an unknown name.
    """
    if name not in _LEVELS:
        raise ValueError(f"level: {name!r} is unknown, expected one of {', '.join(_LEVELS)}")
    names = list(_LEVELS)
    kept = [f for n in names[: names.index(name) + 1] for _, f in _LEVELS[n]]
    bits, registers = _WIDTH[name]
    l1, l2, l3, line = _caches()
    return Target(
        name=name, triple=_triple(), features=",".join(sorted(f"+{f}" for f in kept)),
        model="vector", vector_bits=bits, vector_registers=registers, has_fma="fma" in kept,
        cores=_cores(), l1=l1, l2=l2, l3=l3, line=line,
    )  # fmt: skip


def _triple() -> str:
    suffix = {"Linux": "unknown-linux-gnu", "Darwin": "apple-darwin", "Windows": "pc-windows-msvc"}
    return f"x86_64-{suffix.get(platform.system(), 'unknown-unknown-elf')}"


def _generic() -> Target:
    """A machine we have no table for: what LLVM says of it, with 128-bit vectors."""
    import llvmlite.binding as llvm

    l1, l2, l3, line = _caches()
    return Target(
        name=llvm.get_host_cpu_name(), triple=llvm.get_process_triple(), model="vector",
        features=llvm.get_host_cpu_features().flatten(), vector_registers=32, has_fma=True,
        cores=_cores(), l1=l1, l2=l2, l3=l3, line=line,
    )  # fmt: skip


def _cpu_flags() -> frozenset[str]:
    """The flags of the first processor; the kernel hides those it does not save on a switch."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def _caches() -> tuple[int, int, int, int]:
    """Bytes of the data caches L1, L2 and L3, and of a line; a modest guess where unknown."""
    sizes, line = {1: 32 << 10, 2: 256 << 10, 3: 0}, 64
    for index in sorted(_SYSTEM.glob("cpu0/cache/index*")):
        try:
            kind = (index / "type").read_text().strip()
            depth = int((index / "level").read_text())
            size = (index / "size").read_text().strip()
            line = int((index / "coherency_line_size").read_text())
        except (OSError, ValueError):
            continue
        if kind != "Instruction" and depth in sizes:
            sizes[depth] = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
    return sizes[1], sizes[2], sizes[3], line


def _cores() -> int:
    """Physical cores that this process may use: by affinity, and by its group's share of time."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:
        return os.cpu_count() or 1
    siblings = set()
    for cpu in allowed:
        try:
            text = (_SYSTEM / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            text = str(cpu)
        siblings.add(text)
    return max(1, min(len(siblings), _share()))


def _share() -> int:
    """The number of processors that the control group grants, rounded up; many if unlimited."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 16
