"""``save`` and ``load``: state dicts and nested checkpoints as one safetensors file, whatever it is called.

Tensors lie in the file as safetensors has them; the structure around them (dicts, lists, numbers,
strings) is JSON in the metadata. A file is written to a temporary name, synced and renamed.
Loading checks every number against the file's length before anything is viewed, and never runs
code: what needs unpickling is refused.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..frontend.device import device as device_of
from ..frontend.layout import Size
from ..frontend.storage import from_array
from ..frontend.tensor import Tensor
from ..ir.dtypes import DTYPES, DType, by_name
from .nn.parameter import Parameter

STRUCTURE = "gristmill"
MOST_HEADER = 100 << 20
MOST_DEPTH = 64
MOST_TENSORS = 1_000_000
MOST_NAME = 4096

_CODES = {
    "bool": "BOOL", "u8": "U8", "i8": "I8", "i16": "I16", "i32": "I32", "i64": "I64", "f16": "F16", "bf16": "BF16",
    "f32": "F32", "f64": "F64",
}  # fmt: skip
_DTYPES = {code: by_name(name) for name, code in _CODES.items()}
_PARTS = {"c64": "F32", "c128": "F64"}


class FileError(ValueError):
    """A file that is truncated, garbled, or of another kind."""


# ---- saving ----


def save(obj: Any, f: Any) -> None:
    """Write tensors, and dicts, lists, tuples, numbers, strings and None around them, to a path or a binary file.

    Tied tensors are stored once and tied again by ``load``; so is a tensor that lies inside another one, in its
    memory. TypeError names what cannot be stored.

    >>> import gristmill as gm, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.pth")
    >>> gm.save({"step": 3, "w": gm.ones(2)}, path)
    >>> gm.load(path)
    {'step': 3, 'w': tensor([1., 1.])}
    """
    packer = _Packer()
    structure = packer.pack(obj, "", 0)
    data = packer.file(structure)
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_whole(Path(f), data)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by new content: all of it, or (after a crash) nothing."""
    path = path.resolve()  # what a link points to is replaced, not the link
    folder = path.parent
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Packer:
    """Collects tensors by name while the structure is walked."""

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self.codes: dict[str, tuple[str, list[int]]] = {}
        self.names: dict[Any, str] = {}
        self.kept: dict[str, np.ndarray] = {}  # arrays whose addresses stand in ``names``

    def pack(self, x: Any, name: str, depth: int) -> Any:
        """``x`` as JSON; tensors become their names."""
        if depth > MOST_DEPTH:
            raise ValueError(
                f"save: containers are nested more than {MOST_DEPTH} deep (or hold themselves)"
            )
        if isinstance(x, Tensor):
            return {"tensor": self.tensor(x, name or "tensor"), "leaf": _kind(x)}
        if x is None or isinstance(x, bool | str):
            return x
        if isinstance(x, int | np.integer):
            return int(x) if abs(int(x)) < 1 << 53 else {"int": str(int(x))}
        if isinstance(x, float | np.floating):
            return {"float": float(x).hex() if math.isfinite(x) else str(float(x))}
        if isinstance(x, DType):
            return {"dtype": x.name}
        if isinstance(x, dict):
            return {
                "ordered" if isinstance(x, OrderedDict) else "dict": [
                    [self.key(k), self.pack(v, _joined(name, k), depth + 1)]
                    for k, v in dict.items(x)
                ]
            }
        if isinstance(x, list | tuple | set):
            kind = "size" if isinstance(x, Size) else "list" if isinstance(x, list) else "tuple"
            kind = "set" if isinstance(x, set) else kind
            return {kind: [self.pack(v, _joined(name, i), depth + 1) for i, v in enumerate(x)]}
        raise TypeError(
            f"save: a {type(x).__name__} ({name or 'the object itself'}) cannot be stored: tensors, numbers, "
            "strings, None, dicts, lists and tuples can"
        )

    def key(self, k: Any) -> Any:
        """A dict's key: a string, or a number with its type."""
        if isinstance(k, str):
            return k
        if isinstance(k, bool) or not isinstance(k, int):
            raise TypeError(
                f"save: a dict's key must be a string or an int, not {type(k).__name__}"
            )
        return {"int": str(k)}

    def tensor(self, x: Tensor, name: str) -> str:
        """The name under which a tensor's data stand; a tied one keeps its first."""
        array = x.detach().numpy()
        place = (
            (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
            if array.size
            else id(x)
        )
        if place in self.names:
            return self.names[place]
        if len(name) > MOST_NAME:
            raise ValueError(f"save: the name of a tensor is too long: {name[:80]}...")
        while name in self.tensors or name == "__metadata__":
            name += "_"
        self.names[place] = name
        self.kept[name] = array
        whole = np.ascontiguousarray(array)
        shape = list(array.shape)
        code = _CODES.get(x.dtype.name)
        if code is None:  # a complex number is a pair of floats
            code, shape = _PARTS[x.dtype.name], [*shape, 2]
        self.tensors[name], self.codes[name] = whole, (code, shape)
        return name

    def file(self, structure: Any) -> bytes:
        """The bytes of the file: largest elements first, so that every tensor is aligned."""
        views = _views(self.kept)
        stored = [n for n in self.tensors if n not in views]
        order = sorted(stored, key=lambda n: -self.tensors[n].dtype.itemsize)
        complex_ = [n for n in order if self.tensors[n].dtype.kind == "c"]
        about = {"structure": structure, "complex": complex_, "views": views}
        header: dict[str, Any] = {"__metadata__": {STRUCTURE: json.dumps(about)}}
        at = 0
        for n in order:
            code, shape = self.codes[n]
            header[n] = {
                "dtype": code,
                "shape": shape,
                "data_offsets": [at, at + self.tensors[n].nbytes],
            }
            at += self.tensors[n].nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return b"".join(
            [len(text).to_bytes(8, "little"), text, *(self.tensors[n].tobytes() for n in order)]
        )


def _views(arrays: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """The arrays that lie inside another one: its name, the first byte, shape, and strides in bytes."""

    def span(n: str) -> tuple[int, int]:
        array = arrays[n]
        low = array.__array_interface__["data"][0]
        last = sum((k - 1) * s for k, s in zip(array.shape, array.strides, strict=True))
        return low, low + last + array.itemsize

    spans = {n: span(n) for n, a in arrays.items() if a.size and min(a.strides, default=0) >= 0}
    out: dict[str, list[Any]] = {}
    around, begin, end = "", 0, 0  # the contiguous array that reaches farthest so far
    for n in sorted(spans, key=lambda n: (spans[n][0], -spans[n][1], not _is_dense(arrays[n]))):
        (low, high), array = spans[n], arrays[n]
        inside = high <= end and array.nbytes <= high - low  # an expanded one is stored whole
        if inside and array.dtype == arrays[around].dtype:
            out[n] = [around, low - begin, list(array.shape), list(array.strides)]
        elif high > end and _is_dense(array):
            around, begin, end = n, low, high
    return out


def _is_dense(array: np.ndarray) -> bool:
    return array.flags.c_contiguous


def _joined(name: str, k: Any) -> str:
    return f"{name}.{k}" if name else str(k)


def _kind(x: Tensor) -> str:
    if isinstance(x, Parameter):
        return "parameter" if x.requires_grad else "frozen"
    return "leaf" if x.requires_grad and x.is_leaf else ""


# ---- loading ----


def load(f: Any, map_location: Any = None, weights_only: bool = True, mmap: bool = False) -> Any:
    """Read back what ``save`` (or any safetensors writer) wrote; files are told by content, not by name.

    ``map_location`` must be the CPU. ``weights_only`` has no other setting here: nothing is ever unpickled. ``mmap`` is
    taken for compatibility. FileError says what is wrong with a file.
    """
    if (
        map_location is not None
        and not callable(map_location)
        and not isinstance(map_location, dict)
    ):
        device_of(map_location)
    if not weights_only:
        raise ValueError(
            "load never unpickles: weights_only=False has no meaning here; save with gristmill.save or safetensors"
        )
    name = getattr(f, "name", "the file") if hasattr(f, "read") else str(f)
    data = f.read() if hasattr(f, "read") else Path(f).read_bytes()
    return _Reader(bytes(data), str(name)).read()


class _Reader:
    """Checks a file from front to back, then builds what it holds."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name

    def fail(self, what: str) -> FileError:
        """An error that names the file."""
        return FileError(f"{self.name}: {what}")

    def read(self) -> Any:
        """The object."""
        header, start = self.header()
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or len(header) > MOST_TENSORS:
            raise self.fail("the header is not one of safetensors")
        arrays = self.arrays(header, start)
        text = metadata.get(STRUCTURE)
        if text is None:
            return {n: self.tensor(a, n, ()) for n, a in arrays.items()}
        try:
            found = json.loads(text)
            structure, complex_ = found["structure"], set(map(str, found["complex"]))
            self.views = dict(found.get("views", {}))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self.fail("the structure in the metadata is damaged") from None
        self.base: dict[str, Tensor] = {}
        self.made: dict[tuple[str, str], Tensor] = {}
        return self.build(structure, arrays, complex_, 0)

    def header(self) -> tuple[dict[str, Any], int]:
        """The JSON header, and where the data begin."""
        data = self.data
        begins = data[8:9] == b"{"  # the length before it may look like anything
        if not begins and (data[:2] == b"PK" or data[:1] == b"\x80"):
            raise self.fail(
                "this is a pickled checkpoint, and loading it could run code. In a program with PyTorch, load it there "
                "and write its tensors with safetensors.torch.save_file; that file can be read here"
            )
        size = int.from_bytes(data[:8], "little")
        if not begins or size > MOST_HEADER or 8 + size > len(data):
            raise self.fail(f"not a safetensors file, or truncated: {len(data)} bytes")
        try:
            header = json.loads(data[8 : 8 + size].decode("utf-8"), object_pairs_hook=self.unique)
        except (ValueError, RecursionError) as error:
            if isinstance(error, FileError):
                raise
            raise self.fail("the header is not JSON") from None
        if not isinstance(header, dict):
            raise self.fail("the header is not a JSON object")
        return header, 8 + size

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """A JSON object in which no name stands twice."""
        out = dict(pairs)
        if len(out) != len(pairs):
            raise self.fail("a name stands twice in the header")
        return out

    def arrays(self, header: dict[str, Any], start: int) -> dict[str, np.ndarray]:
        """Every tensor as an array of its own; bounds, sizes and overlaps are checked first."""
        length = len(self.data) - start
        spans = {n: self.span(n, entry, length) for n, entry in header.items()}
        end = 0
        for low, high, n in sorted((*span, n) for n, span in spans.items()):
            if low != end:
                raise self.fail(f"tensor {n[:80]!r} overlaps another, or there is a gap before it")
            end = high
        if end != length:
            raise self.fail(f"{length - end} bytes lie behind the last tensor")
        out = {}
        for n, (low, high) in spans.items():
            dtype = _DTYPES[header[n]["dtype"]].numpy
            raw = np.frombuffer(self.data, dtype, (high - low) // dtype.itemsize, start + low)
            if dtype.kind == "b" and (raw.view(np.uint8) > 1).any():
                raise self.fail(
                    f"tensor {n[:80]!r} is said to be bool and holds other bytes than 0 and 1"
                )
            out[n] = np.array(raw).reshape(header[n]["shape"])
        return out

    def span(self, n: str, entry: Any, length: int) -> tuple[int, int]:
        """Where a tensor lies, checked against its dtype and shape and the file's length."""
        try:
            code, shape, (low, high) = entry["dtype"], entry["shape"], entry["data_offsets"]
            whole = all(type(v) is int and v >= 0 for v in (*shape, low, high))
        except (TypeError, KeyError, ValueError):
            raise self.fail(f"the entry of {n[:80]!r} is damaged") from None
        if len(n) > MOST_NAME:
            raise self.fail(f"a name is longer than {MOST_NAME}: {n[:80]!r}")
        known = isinstance(code, str) and code in _DTYPES and isinstance(shape, list)
        if not whole or not known or len(shape) > 64 or math.prod(d or 1 for d in shape) >= 1 << 60:
            raise self.fail(f"tensor {n[:80]!r} has a dtype, shape or place that is not understood")
        nbytes = math.prod(shape) * _DTYPES[code].itemsize
        if high - low != nbytes or high > length:
            raise self.fail(
                f"tensor {n[:80]!r} should have {nbytes} bytes in a file with {length} bytes of data, "
                f"its place is {low}:{high}"
            )
        return low, high

    def tensor(self, array: np.ndarray, n: str, complex_: Any) -> Tensor:
        """An array as a tensor."""
        if n in complex_:
            if array.ndim == 0 or array.shape[-1] != 2 or array.dtype.kind != "f":
                raise self.fail(f"tensor {n[:80]!r} is said to be complex and holds no pairs")
            wanted = np.complex64 if array.dtype == np.float32 else np.complex128
            array = array.view(wanted)[..., 0]
        return Tensor(from_array(array))

    def build(self, x: Any, arrays: dict[str, np.ndarray], complex_: set[str], depth: int) -> Any:
        """The structure with tensors in their places."""
        if depth > MOST_DEPTH:
            raise self.fail("the structure is nested too deep")
        if x is None or isinstance(x, bool | str | int):
            return x
        if not isinstance(x, dict) or not x:
            raise self.fail("the structure in the metadata is damaged")
        kind, value = next(iter(x.items()))
        try:
            return self.part(kind, value, x, arrays, complex_, depth)
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, FileError):
                raise
            raise self.fail("the structure in the metadata is damaged") from None

    def part(
        self,
        kind: str,
        value: Any,
        x: Any,
        arrays: dict[str, np.ndarray],
        complex_: set[str],
        depth: int,
    ) -> Any:
        """One part of the structure, by its kind."""
        if kind == "tensor":
            key = (value, x.get("leaf", ""))
            if value in self.views and value not in self.base:
                around, first, shape, strides = self.views[value]
                whole = self.whole(around, arrays, complex_).numpy()
                self.base[value] = Tensor(from_array(_inside(whole, first, shape, strides)))
            self.whole(value, arrays, complex_)
            if key not in self.made:
                self.made[key] = _as_kind(self.base[value], key[1])
            return self.made[key]
        if kind == "int":
            return int(value)
        if kind == "float":
            return float.fromhex(value) if "0x" in value else float(value)
        if kind == "dtype":
            return {d.name: d for d in DTYPES}[value]
        if kind in ("dict", "ordered"):
            made = {self.key(k): self.build(v, arrays, complex_, depth + 1) for k, v in value}
            return made if kind == "dict" else OrderedDict(made)
        parts = [self.build(v, arrays, complex_, depth + 1) for v in value]
        return {"list": list, "tuple": tuple, "set": set, "size": Size}[kind](parts)

    def whole(self, n: str, arrays: dict[str, np.ndarray], complex_: set[str]) -> Tensor:
        """The tensor of a name, made once."""
        if n not in self.base:
            self.base[n] = self.tensor(arrays[n], n, complex_)
        return self.base[n]

    def key(self, k: Any) -> Any:
        """A dict's key."""
        return k if isinstance(k, str) else int(k["int"])


def _inside(array: np.ndarray, first: int, shape: list[int], strides: list[int]) -> np.ndarray:
    """A view of an array's memory; NumPy raises ValueError where it leaves it."""
    numbers = (first, *shape, *strides)
    if any(type(n) is not int or not 0 <= n < 1 << 60 for n in numbers):
        raise ValueError("a view with numbers that mean nothing")
    if any(n % array.itemsize for n in (first, *strides)) or math.prod(shape) > array.size:
        raise ValueError("a view that is not made of the array's elements")
    buffer = array.reshape(-1).view(np.uint8)
    return np.ndarray(tuple(shape), array.dtype, buffer, first, tuple(strides))  # type: ignore[arg-type]


def _as_kind(t: Tensor, kind: str) -> Tensor:
    if kind in ("parameter", "frozen"):
        return Parameter(t, requires_grad=kind == "parameter")
    return t.detach().requires_grad_() if kind == "leaf" else t
