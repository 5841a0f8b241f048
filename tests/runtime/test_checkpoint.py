"""Saving and loading: what comes back, what other programs read, and files that must be refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gristmill as gm
from gristmill import nn, optim
from gristmill.runtime.serialize import FileError


def through(x: Any) -> Any:
    f = io.BytesIO()
    gm.save(x, f)
    f.seek(0)
    return gm.load(f)


def alike(a: Any, b: Any) -> bool:
    """Equal in type and content; NaN equals NaN."""
    if isinstance(a, gm.Tensor):
        x, y = a.detach().numpy(), b.detach().numpy()
        return a.dtype is b.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


# ---- what comes back ----

DTYPES = (
    gm.float16, gm.bfloat16, gm.float32, gm.float64, gm.bool, gm.uint8, gm.int8, gm.int16, gm.int32, gm.int64,
    gm.complex64, gm.complex128,
)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_layout(dtype: Any) -> None:
    x = gm.arange(12).to(dtype).reshape(3, 4)
    for t in (x, x.T, x[1:, ::2], x[0, 0], x[:0], x[:, :1].expand(3, 5)):
        back = through(t)
        assert back.dtype is dtype and back.shape == t.shape and gm.equal(back, t)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.floats(width=32), max_size=3).map(lambda v: gm.tensor(v, dtype=gm.float32))
)
keys = st.integers() | st.text(max_size=4) | st.just("__metadata__")
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(trees)
def test_any_tree_comes_back(tree: Any) -> None:
    assert alike(tree, through(tree))


def test_every_length_of_header() -> None:
    for n in range(300):  # the length's bytes are also those that pickles begin with
        assert list(through({"x" * n: gm.ones(1)})) == ["x" * n]


def test_a_tensor_called_as_the_formats_own_entry() -> None:
    assert through({"__metadata__": gm.ones(2)})["__metadata__"].tolist() == [1, 1]


def test_ties_and_kinds() -> None:
    w = nn.Parameter(gm.ones(2))
    leaf = gm.zeros(2, requires_grad=True)
    f = io.BytesIO()
    gm.save({"a": w, "b": w, "c": w.detach(), "d": leaf, "e": nn.Parameter(gm.ones(1), False)}, f)
    assert f.getvalue().count(b'"F32"') == 3
    f.seek(0)
    back = gm.load(f)
    assert back["a"] is back["b"] and type(back["a"]) is nn.Parameter
    assert type(back["c"]) is gm.Tensor and not back["c"].requires_grad
    back["c"].fill_(4)
    assert back["a"].tolist() == [4, 4]
    assert back["d"].requires_grad and back["d"].is_leaf and not back["e"].requires_grad


def test_equal_tensors_are_not_tied() -> None:
    back = through([gm.ones(2), gm.ones(2)])
    back[0].fill_(3)
    assert back[1].tolist() == [1, 1]


def test_a_checkpoint_resumes_exactly(tmp_path: Path) -> None:
    def make() -> tuple[Any, Any, Any]:
        net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        opt = optim.Adam(net.parameters(), lr=0.05, amsgrad=True)
        return net, opt, optim.lr_scheduler.StepLR(opt, 3)

    def train(net: Any, opt: Any, schedule: Any, n: int) -> None:
        for _ in range(n):
            opt.zero_grad()
            (net(gm.rand(8, 3)) ** 2).mean().backward()
            opt.step(), schedule.step()

    gm.manual_seed(0)
    one = make()
    train(*one, 4)
    path = tmp_path / "all.pth"
    gm.save({"parts": [p.state_dict() for p in one], "rng": gm.get_rng_state(), "epoch": 4}, path)
    train(*one, 4)
    gm.manual_seed(9)
    two = make()
    found = gm.load(path)
    for part, state in zip(two, found["parts"], strict=True):
        part.load_state_dict(state)
    gm.set_rng_state(found["rng"])
    train(*two, 4)
    assert alike(one[0].state_dict(), two[0].state_dict()) and found["epoch"] == 4


# ---- files ----


def test_other_programs_read_it_and_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    state = nn.Linear(3, 2).state_dict()
    gm.save(state, tmp_path / "model.pth")
    theirs = safetensors.load_file(tmp_path / "model.pth")
    assert all(np.array_equal(theirs[k], v.numpy()) for k, v in state.items())
    safetensors.save_file(theirs, tmp_path / "back.safetensors")
    assert alike(
        OrderedDict(sorted(gm.load(str(tmp_path / "back.safetensors")).items())),
        OrderedDict(sorted(state.items())),
    )


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    gm.save({"a": 1}, path)
    with pytest.raises(TypeError, match="object"):
        gm.save({"a": object()}, path)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        gm.save({"a": 2}, path)
    assert gm.load(path) == {"a": 1} and os.listdir(tmp_path) == ["m"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    gm.save([1], tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and gm.load(tmp_path / "there" / "file") == [1]


@pytest.mark.parametrize(
    "x, error, words",
    [
        (
            {"net": {"f": print}},
            TypeError,
            r"builtin_function_or_method \(net.f\) cannot be stored",
        ),
        ({1.5: 1}, TypeError, "key must be a string or an int, not float"),
        ({True: 1}, TypeError, "not bool"),
        (nn.Linear(1, 1), TypeError, "a Linear"),
    ],
)
def test_what_cannot_be_stored(x: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        gm.save(x, io.BytesIO())


def test_containers_that_hold_themselves() -> None:
    x: list[Any] = []
    x.append(x)
    with pytest.raises(ValueError, match="hold themselves"):
        gm.save(x, io.BytesIO())


# ---- what is refused ----


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(low: int = 0, high: int = 4, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [low, high]}


def structured(structure: Any, complex_: Any = (), **tensors: Any) -> bytes:
    text = json.dumps({"structure": structure, "complex": complex_})
    return raw({"__metadata__": {"gristmill": text}, **tensors}, bytes(4 * len(tensors)))


deep: Any = 1
for _ in range(80):
    deep = {"list": [deep]}

BAD = {
    "empty": (b"", "not a safetensors file"),
    "short": (b"\x00" * 5, "not a safetensors file"),
    "text": (b"hello, world, this is no checkpoint", "not a safetensors file"),
    "length": (struct.pack("<Q", 1 << 60) + b"{}", "truncated"),
    "json": (raw(b"{]"), "not JSON"),
    "array": (raw(b"[1]"), "not a safetensors file"),
    "nested": (raw(b'{"a":' * 100000), "not JSON"),
    "twice": (raw(b'{"a": 1, "a": 2}'), "stands twice"),
    "metadata": (raw({"__metadata__": 3}), "not one of safetensors"),
    "dtype": (raw({"a": entry(dtype="F8")}, bytes(4)), "not understood"),
    "negative": (raw({"a": entry(-4, 0)}, bytes(4)), "not understood"),
    "fraction": (raw({"a": entry(shape=(1.0,))}, bytes(4)), "not understood"),
    "list": (raw({"a": entry(dtype=[])}, bytes(4)), "not understood"),
    "object": (raw({"a": entry(0, 4) | {"shape": {}}}, bytes(4)), "not understood"),
    "wide": (raw({"a": entry(0, 0, (0, 1 << 62))}), "not understood"),
    "offsets": (raw({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "damaged"),
    "size": (raw({"a": entry(shape=(2,))}, bytes(4)), "should have 8 bytes"),
    "huge": (raw({"a": entry(shape=(1 << 40, 1 << 40))}, bytes(4)), "not understood"),
    "large": (raw({"a": entry(shape=(1 << 50,))}, bytes(4)), "should have"),
    "beyond": (raw({"a": entry(0, 4)}, bytes(3)), "should have 4 bytes"),
    "overlap": (raw({"a": entry(), "b": entry()}, bytes(4)), "overlaps"),
    "gap": (raw({"a": entry(4, 8)}, bytes(8)), "gap"),
    "behind": (raw({"a": entry()}, bytes(9)), "5 bytes lie behind"),
    "bool": (raw({"a": entry(0, 1, dtype="BOOL")}, b"\x02"), "other bytes than 0 and 1"),
    "name": (raw({"a" * 5000: entry()}, bytes(4)), "name is longer"),
    "no structure": (raw({"__metadata__": {"gristmill": "{}"}}), "damaged"),
    "complex": (structured(1, None), "damaged"),
    "pairs": (structured({"tensor": "a"}, ["a"], a=entry()), "holds no pairs"),
    "missing": (structured({"tensor": "b"}, a=entry()), "damaged"),
    "unhashable": (structured({"tensor": ["a"]}, a=entry()), "damaged"),
    "unknown dtype": (structured({"dtype": "f8"}), "damaged"),
    "kind": (structured({"object": "os.system"}), "damaged"),
    "set": (structured({"set": [{"dict": []}]}), "damaged"),
    "float": (structured({"float": "x"}), "damaged"),
    "bare float": (structured(1.5), "damaged"),
    "digits": (structured({"int": "9" * 5000}), "damaged"),
    "deep": (structured(deep), "nested too deep"),
}


@pytest.mark.parametrize("data, words", BAD.values(), ids=BAD)
def test_damaged_files(data: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words):
        gm.load(io.BytesIO(data))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_damage_is_a_clear_error_or_harmless(data: Any) -> None:
    f = io.BytesIO()
    gm.save({"a": gm.ones(3), "n": [1, 2.5, {"k": None}], "b": gm.tensor([True])}, f)
    damaged = bytearray(f.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    try:
        gm.load(io.BytesIO(bytes(damaged[:cut] if cut % 2 else damaged)))
    except FileError as error:
        assert "the file" in str(error)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("gristmill-was-here",)


@pytest.mark.parametrize("weights_only", [True, False])
def test_pickles_are_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_only: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"never unpickles|safetensors.torch.save_file"):
        gm.load("old.pth", weights_only=weights_only)
    assert os.listdir(tmp_path) == ["old.pth"]


def test_torchs_files_say_how_to_convert(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="writes a PyTorch checkpoint")
    torch.save({"w": torch.ones(2)}, tmp_path / "model.pth")
    with pytest.raises(
        FileError, match=r"model.pth: this is a pickled.*safetensors.torch.save_file"
    ):
        gm.load(tmp_path / "model.pth")


def test_nothing_is_imported_or_compiled_while_loading() -> None:
    data = io.BytesIO()
    gm.save({"w": gm.ones(2), "n": [1, None]}, data)
    data.seek(0)
    gm.load(data)
    data.seek(0)
    seen: list[str] = []
    watching = [True]
    sys.addaudithook(
        lambda event, _: (
            seen.append(event)
            if watching
            and event in ("import", "exec", "compile", "pickle.find_class", "marshal.loads")
            else None
        )
    )
    gm.load(data)
    watching.clear()
    assert seen == []
    with pytest.raises(RuntimeError, match="no CUDA device"):
        gm.load(data, map_location="cuda")


def test_kinds_of_containers_come_back(tmp_path: Path) -> None:
    kept = {"net": nn.Linear(1, 1).state_dict(), "shape": gm.ones(2, 3).shape, "plain": (2, {3})}
    gm.save(kept, tmp_path / "f")
    found = gm.load(tmp_path / "f")
    assert type(found["net"]) is OrderedDict and list(found["net"]) == ["weight", "bias"]
    assert type(found["shape"]) is gm.Size and found["shape"] == (2, 3)
    assert type(found) is dict and found["plain"] == (2, {3})


def test_a_part_shares_memory_with_the_whole_again(tmp_path: Path) -> None:
    for dtype in (gm.float32, gm.bfloat16, gm.complex64, gm.bool):
        x = gm.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 1]]).to(dtype)
        kept = {"part": x[1:], "columns": x.t()[1:], "all": x, "flat": x.view(9), "own": x.clone()}
        gm.save(kept, tmp_path / "f")
        found = gm.load(tmp_path / "f")
        assert all(gm.equal(found[k], v) and found[k].dtype is dtype for k, v in kept.items())
        assert found["columns"].stride() == (1, 3)
        found["all"][1, 1] = 0
        same = found["part"][0, 1], found["columns"][0, 1], found["flat"][4]
        assert [t.item() for t in same] == [0, 0, 0]
        assert found["own"][1, 1].item() != 0


def test_memory_that_only_overlaps_is_stored_twice(tmp_path: Path) -> None:
    x = gm.arange(6)
    gm.save([x[:4], x[2:], x[:1].expand(2)], tmp_path / "f")
    assert [t.tolist() for t in gm.load(tmp_path / "f")] == [[0, 1, 2, 3], [2, 3, 4, 5], [0, 0]]


@pytest.mark.parametrize(
    "view",
    [
        ["x", 8, [2], [4]], ["x", 0, [1 << 40], [0]], ["x", -4, [1], [4]], ["x", 0, [4], [8]], ["x", 2, [1], [4]],
        ["x", 0, [2], [1]], ["y", 0, [1], [4]], ["x", 0, [1, 1], [4]], ["v", 0, [1], [4]], ["x", 0, [1.5], [4]], 3,
        ["x", 0, [1], [1 << 80]],
    ],
)  # fmt: skip
def test_a_view_that_leaves_its_memory_is_refused(view: Any) -> None:
    about = {"structure": {"tensor": "v", "leaf": ""}, "complex": [], "views": {"v": view}}
    header: dict[str, Any] = {"__metadata__": {"gristmill": json.dumps(about)}}
    header["x"] = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
    text = json.dumps(header).encode()
    with pytest.raises(FileError, match="damaged"):
        gm.load(io.BytesIO(struct.pack("<Q", len(text)) + text + bytes(12)))
