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
_LIBRARY = "code"


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
            raise self._unknown(name)
        return self._names[name]

    def _unknown(self, name: str) -> KeyError:
        known = ", ".join(sorted(self._names)) or "nothing"
        return KeyError(f"code has no symbol {name!r}; it has {known}")

    def immortal(self) -> "Code":
        """Keep the mapping for the life of the process: some thread may always be inside."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._owner))
        return self


class Linked(Code):
    """Code that LLVM's own linker holds; a name that was not read from the object is asked for."""

    __slots__ = ()

    def address(self, name: str) -> int:
        """Where ``name`` lies. Raises ``KeyError`` if it is not there."""
        if name not in self._names:
            try:
                found = self._owner[0].lookup(_LIBRARY, name)
            except RuntimeError:
                raise self._unknown(name) from None
            self._owner.append(found)  # the code goes with it
            self._names[name] = found[name]
        return self._names[name]


@functools.cache
def maps_here() -> bool:
    """Whether objects are of the kind that our own mapper reads: Linux on x86-64."""
    return platform.system() == "Linux" and platform.machine() == "x86_64"


@functools.cache
def portable() -> bool:
    """Whether this process takes the portable ways: asked for, or no other way is known here."""
    return os.environ.get("GRISTMILL_PORTABLE") == "1" or not maps_here()


def load(data: bytes) -> Code:
    """Map an object file. Raises ``LoadError`` if it is not one of ours or lacks a symbol."""
    try:
        image = Object(data) if maps_here() else None
        return _map(image) if image and not portable() else _link(data, image)
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
        return _outside(name)
    if section >= _RESERVED and section != _ABSOLUTE:
        raise LoadError(f"load: {name!r} is a common symbol; emit it with an initial value")
    return value


def _outside(name: str) -> int:
    address = resolve(name)
    if address is None:
        raise LoadError(f"load: nothing provides @{name}; register it before loading")
    return address


@functools.cache
def _mprotect() -> Any:
    function = ctypes.CDLL(None).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


def _link(data: bytes, image: Object | None) -> Code:
    """The portable twin: LLVM's own linker, one for each object, closed with the ``Code``."""
    import llvmlite.binding as llvm

    names = []
    for name, binding, section, _ in image.symbols if image else ():
        if name and section == 0:
            _outside(name)  # said better here than by LLVM
        elif name and binding:
            names.append(name)
    library = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
    for name in names:
        library.export_symbol(name)
    for name, address in registered().items():
        library.import_symbol(name, address)
    linker = llvm.create_lljit_compiler(native_machine(), use_jit_link=True)
    try:
        found = library.link(linker, _LIBRARY)
    except RuntimeError as error:
        raise LoadError(f"load: {error}") from None
    return Linked({name: found[name] for name in names}, [linker, found], len(data))
