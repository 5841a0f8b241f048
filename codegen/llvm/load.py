"""Object file to running code: map the sections, bind the symbols, make the pages executable.

Our own mapper of x86-64 ELF objects: it needs no LLVM, costs tens of microseconds, and what it
maps goes away with the last reference to the ``Code``. With ``GRISTMILL_PORTABLE=1`` or on
another machine LLVM's own linker does the same.
"""

import ctypes
import functools
import mmap
import os
import platform
import struct
from typing import Any

from .build import native_machine
from .elf import LoadError, Object
from .symbols import registered, resolve

_ABSOLUTE, _RESERVED = 0xFFF1, 0xFF00


class Code:
    """Mapped machine code; unmapped when the last reference to it dies."""

    __slots__ = ("__weakref__", "_names", "_owner", "size")

    def __init__(self, names: dict[str, int], owner: Any, size: int) -> None:
        self._names = names
        self._owner = owner
        self.size = size

    def address(self, name: str) -> int:
        """Where the function or variable ``name`` lies. Raises ``KeyError`` with what there is."""
        if name not in self._names:
            known = ", ".join(sorted(self._names)) or "nothing"
            raise KeyError(f"code has no symbol {name!r}; it has {known}")
        return self._names[name]

    def immortal(self) -> "Code":
        """Keep the mapping for the life of the process: some thread may always be inside."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._owner))
        return self


class EngineCode(Code):
    """Code that LLVM's own linker holds."""

    __slots__ = ()

    def address(self, name: str) -> int:
        """Where ``name`` lies. Raises ``KeyError`` if it is not there."""
        found = self._owner.get_function_address(name) or self._owner.get_global_value_address(name)
        if not found:
            raise KeyError(f"code has no symbol {name!r}")
        return int(found)


@functools.cache
def portable() -> bool:
    """Whether this process takes the portable ways: asked for, or not Linux on x86-64."""
    here = platform.system() == "Linux" and platform.machine() == "x86_64"
    return os.environ.get("GRISTMILL_PORTABLE") == "1" or not here


def load(data: bytes) -> Code:
    """Map an object file. Raises ``LoadError`` if it is not one of ours or lacks a symbol."""
    if portable():
        return _load_by_engine(data)
    try:
        return _map(Object(data))
    except (struct.error, IndexError, ValueError, StopIteration) as error:
        raise LoadError(f"load: not an x86-64 ELF object, or damaged ({error})") from None


def _map(image: Object) -> Code:
    """Copy, relocate, and only then make the code executable (never writable at once)."""
    memory = mmap.mmap(-1, image.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    addresses = [_address(image, base, *symbol) for symbol in image.symbols]
    with memoryview(memory) as view:
        image.copy(view)
        image.relocate(view, base, addresses)
    if _mprotect()(base, image.boundary, mmap.PROT_READ | mmap.PROT_EXEC):
        raise LoadError("load: the system refuses executable memory (mprotect)")
    names = {
        name: address
        for (name, binding, section, _), address in zip(image.symbols, addresses, strict=True)
        if name and binding and section in image.offsets
    }
    return Code(names, memory, image.size)


def _address(image: Object, base: int, name: str, binding: int, section: int, value: int) -> int:
    """Where a symbol lies: in a section of ours, or outside."""
    if section in image.offsets:
        return base + image.offsets[section] + value
    if section == 0 and name:
        address = resolve(name)
        if address is None:
            raise LoadError(f"load: nothing provides @{name}; register it before loading")
        return address
    if section >= _RESERVED and section != _ABSOLUTE:
        raise LoadError(f"load: {name!r} is a common symbol; emit it with an initial value")
    return value


@functools.cache
def _mprotect() -> Any:
    function = ctypes.CDLL(None).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


def _load_by_engine(data: bytes) -> Code:
    """The portable twin: an engine of LLVM's per object, closed with the ``Code``."""
    import llvmlite.binding as llvm

    for name, address in registered().items():
        llvm.add_symbol(name, address)
    machine = native_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return EngineCode({}, engine, len(data))
