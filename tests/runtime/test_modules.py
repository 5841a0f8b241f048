"""Modules: registration, walking, state, hooks, text; eagerly and as a compiled function sees them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import gristmill as gm
from gristmill import nn
from gristmill.nn import init


class Net(nn.Module):
    """Two layers, one of them tied, and two buffers."""

    def __init__(self) -> None:
        super(Net, self).__init__()  # noqa: UP008
        self.a = nn.Linear(2, 2)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("mean", gm.zeros(2))
        self.register_buffer("scratch", gm.zeros(1), persistent=False)

    def forward(self, x: gm.Tensor) -> gm.Tensor:
        return self.b(self.a(x)) + self.mean


def names(pairs: Any) -> list[str]:
    return [n for n, _ in pairs]


# ---- registration ----


def test_names() -> None:
    net = Net()
    assert names(net.named_parameters()) == ["a.weight", "a.bias"]
    assert names(net.named_parameters(remove_duplicate=False)) == ["a.weight", "a.bias", "b.weight"]
    assert names(net.named_buffers()) == ["mean", "scratch"]
    assert names(net.named_modules()) == ["", "a", "b"]
    assert names(net.named_parameters(prefix="x", recurse=False)) == []
    assert list(net.state_dict()) == ["mean", "a.weight", "a.bias", "b.weight"]
    assert {"a", "mean", "forward"} <= set(dir(net))


def test_get_submodule() -> None:
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    assert net.get_submodule("0.0") is net[0][0] and net.get_submodule("") is net
    with pytest.raises(AttributeError, match=r"no child module 'x' \(of '0.x'\)"):
        net.get_submodule("0.x")


def test_a_replaced_parameter_keeps_its_place() -> None:
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(gm.ones(2, 2))
    assert names(layer.named_parameters()) == ["weight", "bias"]


def test_assigning_moves_a_name_between_tables() -> None:
    m = nn.Module()
    m.x = nn.ReLU()
    m.x = nn.Parameter(gm.ones(1))
    assert names(m.named_parameters()) == ["x"] and names(m.named_children()) == []
    m.x = None
    assert m.x is None and list(m.state_dict()) == []
    del m.x
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'x'"):
        _ = m.x


@pytest.mark.parametrize("value", [nn.ReLU(), nn.Parameter(gm.ones(1)), nn.Buffer(gm.ones(1))])
def test_assignment_before_init(value: Any) -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = value
            super().__init__()

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) was called"):
        Early()


@pytest.mark.parametrize(
    "act, error, words",
    [
        (lambda m: m.register_parameter("x", gm.ones(1)), TypeError, "expected a Parameter"),
        (lambda m: m.register_buffer("x", 3), TypeError, "expected a Tensor"),
        (lambda m: m.add_module("x", 3), TypeError, "expected a Module"),
        (lambda m: m.add_module("a.b", nn.ReLU()), KeyError, "dot"),
        (lambda m: m.add_module("", nn.ReLU()), KeyError, "empty"),
        (lambda m: m.add_module(3, nn.ReLU()), TypeError, "string"),
        (lambda m: m.register_buffer("weight", gm.ones(1)), KeyError, "exists already"),
        (lambda m: m.register_buffer("forward", gm.ones(1)), KeyError, "exists already"),
        (lambda m: setattr(m, "weight", gm.ones(1)), TypeError, "as parameter 'weight'"),
        (lambda m: nn.Sequential([nn.ReLU()]), TypeError, "list"),
        (lambda m: m.train("yes"), ValueError, "boolean"),
        (lambda m: m.to(gm.int32), TypeError, "floating point"),
        (lambda m: m.cuda(), RuntimeError, "no CUDA device"),
    ],
)
def test_what_is_refused(act: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        act(nn.Linear(1, 1))


# ---- state ----


def test_load_state_dict() -> None:
    net, other = Net(), Net()
    weight = other.a.weight
    assert repr(other.load_state_dict(net.state_dict())) == "<All keys matched successfully>"
    assert other.a.weight is weight and gm.equal(weight, net.a.weight)
    net.a.weight.data.fill_(5)
    assert not gm.equal(weight, net.a.weight)


def test_one_error_lists_everything_and_nothing_is_loaded() -> None:
    net = Net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    given = {"mean": gm.ones(2), "a.bias": gm.ones(3), "a.weight": 3, "extra": gm.ones(1)}
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(given)
    assert str(caught.value).splitlines() == [
        "loading a state dict into Net:",
        "  missing: b.weight",
        "  unexpected: extra",
        "  a.bias: has shape (3,), expected (2,)",
        "  a.weight: is a int, not a Tensor",
    ]
    assert all(gm.equal(v, before[k]) for k, v in net.state_dict().items())


def test_loading_without_strict() -> None:
    found = nn.Linear(1, 1).load_state_dict({"bias": gm.ones(1), "x": gm.ones(1)}, strict=False)
    assert found == (["weight"], ["x"])
    with pytest.raises(RuntimeError, match="has shape"):
        nn.Linear(1, 1).load_state_dict({"bias": gm.ones(2)}, strict=False)
    with pytest.raises(TypeError, match="expected a state dict, not Linear"):
        nn.Linear(1, 1).load_state_dict(nn.Linear(1, 1))  # type: ignore[arg-type]


def test_assign_takes_the_tensors() -> None:
    layer, weight = nn.Linear(1, 1, bias=False), gm.ones(1, 1, dtype=gm.float64)
    parameter = layer.weight
    layer.load_state_dict({"weight": weight}, assign=True)
    assert layer.weight is parameter and layer.weight.dtype is gm.float64
    weight.fill_(3)
    assert layer.weight.item() == 3


def test_state_dict_shares_memory_and_keeps_vars() -> None:
    layer = nn.Linear(1, 1)
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight
    detached = layer.state_dict()["weight"]
    assert not detached.requires_grad
    detached.fill_(7)
    assert layer.weight.item() == 7


def test_deepcopy_keeps_ties_and_types() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    assert type(twin.a.weight) is nn.Parameter and twin.b.weight is twin.a.weight
    twin.a.weight.data.fill_(9)
    assert not gm.equal(net.a.weight, twin.a.weight)


def test_conversion_keeps_identity_and_ties() -> None:
    net = Net()
    shared = gm.ones(1)
    net.a.register_buffer("s", shared)
    net.b.register_buffer("s", shared)
    weight = net.a.weight
    net.register_buffer("count", gm.zeros(1, dtype=gm.int64))
    assert net.double() is net
    assert net.a.weight is weight is net.b.weight and weight.dtype is gm.float64
    assert net.a.s is net.b.s and net.a.s.dtype is gm.float64 and net.count.dtype is gm.int64
    for convert, dtype in (("half", gm.float16), ("bfloat16", gm.bfloat16), ("float", gm.float32)):
        getattr(net, convert)()
        assert weight.dtype is dtype and weight.requires_grad


def test_train_eval_apply_requires_grad() -> None:
    net = Net()
    assert not net.eval().a.training and net.train().a.training
    seen: list[str] = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Linear", "Net"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


# ---- hooks ----


def test_hooks_in_order_without_handles() -> None:
    m = nn.Identity()
    m.register_forward_hook(lambda m, args, out: out + 1)
    m.register_forward_hook(lambda m, args, out: out * 10)
    m.register_forward_hook(lambda m, args, out: None)
    handle = m.register_forward_pre_hook(lambda m, args: (args[0] + 5,))
    assert m(gm.zeros(1)).item() == 60
    handle.remove()
    handle.remove()
    assert m(gm.zeros(1)).item() == 10


def test_a_compiled_function_sees_hooks_come_and_go() -> None:
    m = nn.Identity()
    f = gm.compile(lambda x: m(x) * 2)
    assert f(gm.ones(1)).item() == 2
    handle = m.register_forward_hook(lambda m, args, out: out + 3)
    assert f(gm.ones(1)).item() == 8
    handle.remove()
    assert f(gm.ones(1)).item() == 2


def test_a_compiled_function_sees_converted_buffers() -> None:
    net = nn.Module()  # without parameters, whose conversion is noticed by itself
    net.register_buffer("mean", gm.zeros(2))
    f = gm.compile(lambda: net.mean * 2)
    assert f().dtype is gm.float32
    net.double()
    net.mean.fill_(3)
    assert f().dtype is gm.float64 and f().tolist() == [6, 6]


def test_a_hook_is_not_registered_inside_a_trace() -> None:
    m = nn.Identity()

    def f(x: gm.Tensor) -> gm.Tensor:
        m.register_forward_hook(lambda m, args, out: out + 1)
        return m(x)

    with pytest.raises(gm.TraceError, match="register it before"):
        gm.compile(f)(gm.ones(1))
    assert m(gm.zeros(1)).item() == 0


def test_writes_are_repeated_and_modes_seen() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.register_buffer("total", gm.zeros(1))

        def forward(self, x: gm.Tensor) -> gm.Tensor:
            self.calls += 1
            self.total = self.total + x
            return x * 2 if self.training else x

    m = Counting()
    f = gm.compile(m)
    assert [f(gm.ones(1)).item() for _ in range(3)] == [2, 2, 2]
    assert m.calls == 3 and m.total.item() == 3
    m.eval()
    assert f(gm.ones(1)).item() == 1 and m.calls == 4


def test_a_compiled_module_is_the_module() -> None:
    net = nn.Linear(2, 2)
    fast = gm.compile(net)
    assert isinstance(fast, nn.Module) and list(fast.state_dict()) == ["weight", "bias"]
    assert fast.weight is net.weight
    fast.weight = nn.Parameter(gm.zeros(2, 2))
    assert gm.equal(fast(gm.ones(1, 2))[0], net.bias)


# ---- containers ----


def test_sequential_is_a_list() -> None:
    a, b, c = nn.Linear(1, 1), nn.ReLU(), nn.Tanh()
    s = nn.Sequential(a, b)
    s[0] = c
    assert list(s) == [c, b] and len(s) == 2 and c in s and a not in s
    s.append(a).insert(0, a)
    assert list(s) == [a, c, b, a] and s[-1] is a and list(s[1:3]) == [c, b]
    del s[0]
    assert list(s._modules) == ["0", "1", "2"] and s.pop(0) is c and list(s) == [b, a]
    assert list(nn.Sequential(a) + nn.Sequential(b)) == [a, b]
    s += [c]
    assert list(s) == [b, a, c]
    with pytest.raises(IndexError, match="index 7 is out of range for 3 modules"):
        s[7]


def test_named_sequential() -> None:
    s = nn.Sequential({"x": nn.Linear(1, 1), "y": nn.ReLU()})
    assert s.y is s[1] and list(s[1:]._modules) == ["y"]
    assert list(s.state_dict()) == ["x.weight", "x.bias"]


def test_dict_and_parameter_list() -> None:
    d = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    assert list(d) == ["a", "b"] and "a" in d and d.pop("a") is not None and len(d) == 1
    d.clear()
    assert len(d) == 0
    with pytest.raises(KeyError):
        d["a"]
    ps = nn.ParameterList([gm.ones(1), gm.zeros(2)])
    ps += [gm.ones(3)]
    ps[0] = gm.zeros(4)
    assert [p.shape[0] for p in ps] == [4, 2, 3] and ps[-1] is ps[2]
    assert names(ps.named_parameters()) == ["0", "1", "2"] and len(ps[1:]) == 2


# ---- against PyTorch ----


def everything(n: Any) -> list[Any]:
    return [
        n.Linear(3, 4, bias=False),
        n.Sequential(n.Linear(2, 3), n.ReLU(inplace=True), n.Flatten(), n.Dropout(0.2)),
        n.ModuleList([n.Linear(1, 2), n.Linear(1, 2), n.Sequential(n.Tanh())]),
        n.ModuleList(),
        n.ModuleDict({"a": n.Softmax(dim=1), "b": n.LogSoftmax(-1)}),
        n.Identity(3),
        n.CrossEntropyLoss(),
        n.MSELoss(reduction="sum"),
    ]


def test_text_is_torchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for ours, theirs in zip(everything(nn), everything(torch.nn), strict=True):
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_are_torchs(reduction: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((5, 3)), np.array([0, 2, 1, -100, 2]), rng.random(3)
    t = rng.standard_normal((5, 3))
    found = []
    for lib in (gm, torch):
        n, a = lib.nn, lib.tensor(x)
        kw = {"reduction": reduction}
        losses = [
            n.MSELoss(**kw)(a, lib.tensor(t)),
            n.CrossEntropyLoss(**kw)(a, lib.tensor(y)),
            n.CrossEntropyLoss(weight=lib.tensor(w), label_smoothing=0.1, **kw)(a, lib.tensor(y)),
            n.NLLLoss(weight=lib.tensor(w), ignore_index=2, **kw)(
                n.LogSoftmax(1)(a), lib.tensor(abs(y) % 3)
            ),
        ]
        found.append([np.asarray(loss) for loss in losses])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


# ---- initial values ----


def spread(t: gm.Tensor) -> tuple[float, float]:
    a = t.detach().numpy()
    return float(a.std()), float(np.abs(a).max())


def test_linear_starts_as_torchs() -> None:
    gm.manual_seed(0)
    layer = nn.Linear(100, 400)
    for p in (layer.weight, layer.bias):
        std, most = spread(p)
        assert most <= 0.1 and std == pytest.approx(0.1 / 3**0.5, rel=0.1)


@pytest.mark.parametrize(
    "fill, std",
    [
        (init.xavier_uniform_, (2 / 500) ** 0.5),
        (init.xavier_normal_, (2 / 500) ** 0.5),
        (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), (2 / 200) ** 0.5),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), (2 / 300) ** 0.5),
        (lambda t: init.normal_(t, 0, 3.0), 3.0),
        (lambda t: init.trunc_normal_(t, std=10, a=-1, b=1), 1 / 3**0.5),
        (init.ones_, 0.0),
    ],
)
def test_spread_of_initial_values(fill: Any, std: float) -> None:
    gm.manual_seed(1)
    p = nn.Parameter(gm.zeros(300, 200))
    assert fill(p) is p and p.requires_grad and p.is_leaf
    assert spread(p)[0] == pytest.approx(std, rel=0.02, abs=1e-6)


def test_truncated_values_stay_inside() -> None:
    t = init.trunc_normal_(
        gm.empty(1000), 1.0, 2.0, 0.5, 1.5, generator=gm.Generator().manual_seed(3)
    )
    assert t.min().item() >= 0.5 and t.max().item() <= 1.5
    with pytest.raises(ValueError, match="next to nothing"):
        init.trunc_normal_(gm.empty(2), a=50, b=51)


def test_gains_are_torchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for name, param in (
        ("relu", None),
        ("tanh", None),
        ("leaky_relu", 0.2),
        ("conv2d", None),
        ("selu", None),
    ):
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


def test_cuda_door() -> None:
    assert not gm.cuda.is_available() and gm.cuda.device_count() == 0
    gm.cuda.manual_seed_all(0)
    device = gm.device("cuda" if gm.cuda.is_available() else "cpu")
    assert nn.Linear(1, 1).to(device).weight.device == device
    with pytest.raises(RuntimeError, match="no CUDA device"):
        gm.cuda.synchronize()


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: nn.Module()(3), NotImplementedError, r'\[Module\] is missing .* "forward"'),
        (lambda: nn.ModuleList()(3), NotImplementedError, r"\[ModuleList\]"),
        (lambda: nn.Sequential(nn.ReLU()).insert(5, nn.ReLU()), IndexError, "index 5 .* 1 modules"),
        (lambda: nn.Sequential(nn.ReLU()).insert(-2, nn.ReLU()), IndexError, "index -2"),
        (lambda: nn.Sequential().insert(0, 3), TypeError, "expected a Module, not int"),
        (lambda: nn.Dropout(float("nan")), ValueError, "but got nan"),
        (lambda: nn.ModuleList([nn.ReLU()])["a"], TypeError, "'str' object"),
    ],
)
def test_what_containers_refuse(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
