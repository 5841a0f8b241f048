"""x86-64 ELF object files: their sections and symbols, and how they are laid out in memory."""

import struct
from collections.abc import Iterator

PAGE = 4096
_ALLOC, _WRITE, _THREAD = 0x2, 0x1, 0x400
_NOBITS, _SYMTAB, _RELA, _UNWIND = 8, 2, 4, 0x70000001
_R64, _PC32, _GOT, _PLT32, _32, _32S, _PC64, _GOTX, _REXGOTX = 1, 2, 9, 4, 10, 11, 24, 41, 42


class LoadError(RuntimeError):
    """An object file that cannot be mapped: foreign, damaged, or in need of what nobody has."""


class Object:
    """One relocatable ELF file, read where it lies.

    In memory come code and constants, then for each symbol an entry of 24 bytes (its address,
    and a jump there, for callers that reach only 2 GB), then on pages of their own what may be
    written. Raises ``LoadError`` for other files.
    """

    def __init__(self, data: bytes) -> None:
        if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", data, 16) != (1, 62):
            raise LoadError("load: not an x86-64 ELF object file")
        (start,) = struct.unpack_from("<Q", data, 40)
        width, count, _ = struct.unpack_from("<HHH", data, 58)
        # name type flags address offset size link info align entry-size
        self.sections = [
            struct.unpack_from("<IIQQQQIIQQ", data, start + i * width) for i in range(count)
        ]
        self.data = data
        self._table = next(s for s in self.sections if s[1] == _SYMTAB)
        self._strings = self.sections[self._table[6]][4]
        self.symbols = list(self._read_symbols())
        self.offsets: dict[int, int] = {}
        at = self._place(0, writable=0)
        self.entries = -(-at // 16) * 16
        self.boundary = _up(self.entries + 24 * len(self.symbols), PAGE)
        self.size = _up(self._place(self.boundary, writable=_WRITE), PAGE)

    def _read_symbols(self) -> Iterator[tuple[str, int, int, int]]:
        """Each symbol: name, binding, section (0 when it is defined elsewhere), value."""
        begin, size = self._table[4], self._table[5]
        for at in range(begin, begin + size, 24):
            name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", self.data, at)
            text = ""
            if name:
                stop = self.data.index(b"\0", self._strings + name)
                text = self.data[self._strings + name : stop].decode()
            yield text, info >> 4, section, value

    def _place(self, at: int, writable: int) -> int:
        """Give each section of one kind its offset from ``at`` on; returns the end."""
        for i, (_, kind, flags, _, _, size, _, _, align, _) in enumerate(self.sections):
            if not flags & _ALLOC or not size or flags & _WRITE != writable or kind == _UNWIND:
                continue
            if align > PAGE or flags & _THREAD:
                raise LoadError("load: over-aligned and thread-local sections are not mapped")
            at = _up(at, max(align, 16))
            self.offsets[i] = at
            at += size
        return at

    def copy(self, memory: memoryview) -> None:
        """Write the contents of every section that is loaded."""
        for i, offset in self.offsets.items():
            _, kind, _, _, begin, size, *_ = self.sections[i]
            if kind != _NOBITS:
                memory[offset : offset + size] = self.data[begin : begin + size]

    def relocate(self, memory: memoryview, base: int, addresses: list[int]) -> None:
        """Write every address into its place; ``addresses`` holds one for each symbol."""
        for k, address in enumerate(addresses):  # the entry: the address, and jmp [rip - 14]
            entry = struct.pack("<Q8s", address, b"\xff\x25\xf2\xff\xff\xff\x00\x00")
            memory[self.entries + 24 * k :][:16] = entry
        for section in self.sections:
            if section[1] != _RELA or section[7] not in self.offsets:
                continue
            start = self.offsets[section[7]]
            for at in range(section[4], section[4] + section[5], 24):
                offset, info, addend = struct.unpack_from("<QQq", self.data, at)
                self._patch(memory, base, start + offset, info, addresses[info >> 32], addend)

    def _patch(
        self, memory: memoryview, base: int, at: int, info: int, address: int, addend: int
    ) -> None:
        kind, here = info & 0xFFFFFFFF, base + at
        entry = base + self.entries + 24 * (info >> 32)
        outside = self.symbols[info >> 32][2] not in self.offsets
        if kind == _R64:
            form, value = "<Q", (address + addend) % (1 << 64)
        elif kind in (_PC32, _PLT32):
            form, value = "<i", (entry + 8 if outside else address) + addend - here
        elif kind in (_GOT, _GOTX, _REXGOTX):
            form, value = "<i", entry + addend - here
        elif kind == _PC64:
            form, value = "<q", address + addend - here
        elif kind in (_32, _32S):
            form, value = ("<I" if kind == _32 else "<i"), address + addend
        else:
            raise LoadError(f"load: relocation of kind {kind} is not known here")
        try:
            struct.pack_into(form, memory, at, value)
        except struct.error:
            raise LoadError(f"load: relocation of kind {kind} does not reach its symbol") from None


def undefined(data: bytes) -> list[str]:
    """The symbols that an object file needs from outside."""
    if data[:4] != b"\x7fELF":
        return []
    return [name for name, _, section, _ in Object(data).symbols if name and section == 0]


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
