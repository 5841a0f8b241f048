"""LLVM IR text to an ELF object or to assembly; the one file of this room that needs LLVM."""

import functools
import re
import threading
from typing import Any

from ...ir.errors import CompileError
from ...ir.target import Target
from ..forks import held_at_fork
from .elf import undefined
from .symbols import unresolved

_lock = held_at_fork(threading.Lock(), "build")


def build(text: str, target: Target) -> bytes:
    """Compile LLVM IR text to an object file for ``target``.

    No middle-end pass runs: writers emit vector SSA as they want it. Raises ``CompileError``
    with the offending line for bad text, and with the names for symbols nobody provides.
    """
    with _lock:
        machine = _machine(target)
        try:
            data: bytes = machine.emit_object(_parse(text, target, machine))
        except RuntimeError as error:
            raise _explain(error, text) from None
    missing = unresolved(undefined(data))
    if missing:
        raise CompileError(f"build: nothing provides {_names(missing)}; register it or emit it")
    return data


def assembly(text: str, target: Target) -> str:
    """The assembly that ``build`` would make of the same text."""
    with _lock:
        machine = _machine(target)
        try:
            listing: str = machine.emit_assembly(_parse(text, target, machine))
        except RuntimeError as error:
            raise _explain(error, text) from None
    return listing


def native_machine() -> Any:
    """LLVM's description of this process's own machine, as its linker wants it."""
    llvm = _llvm()
    return llvm.Target.from_default_triple().create_target_machine(jit=True)


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm


@functools.lru_cache(maxsize=16)
def _machine(target: Target) -> Any:
    llvm = _llvm()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.name, features=target.features, opt=2, reloc="pic", codemodel="small"
    )


def _parse(text: str, target: Target, machine: Any) -> Any:
    """The verified module of a text; the layout comes first, since it decides alignments."""
    module = _llvm().parse_assembly(_header(target, machine) + text)
    module.verify()
    declared = [f.name for f in module.functions if f.is_declaration]
    missing = unresolved([name for name in declared if not name.startswith("llvm.")])
    if missing:
        raise CompileError(f"build: nothing provides {_names(missing)}; register it or emit it")
    return module


def _header(target: Target, machine: Any) -> str:
    """One line, so that LLVM's line numbers are the text's own plus one."""
    return f'target datalayout = "{machine.target_data}" target triple = "{target.triple}"\n'


def _names(missing: list[str]) -> str:
    return ", ".join(f"@{name}" for name in missing)


def _explain(error: RuntimeError, text: str) -> CompileError:
    """LLVM's complaint, with the line of the text that it is about."""
    if isinstance(error, CompileError):
        return error
    words = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = re.search(r"<string>:(\d+):\d+: error: (.*)", str(error))
    lines = text.splitlines()
    if found and 0 <= int(found.group(1)) - 2 < len(lines):
        number = int(found.group(1)) - 1
        return CompileError(f"build: {found.group(2)}\n  line {number}: {lines[number - 1]}")
    return CompileError("build: " + "\n  ".join(words))
