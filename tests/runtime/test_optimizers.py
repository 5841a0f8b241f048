"""Optimizers and schedules against PyTorch in float64, and what is promised beyond its numbers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import gristmill as gm
from gristmill import optim

STEPS = 50
SHAPES = (3, 4), (4,), ()

OPTIMIZERS = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.001, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("Adam", {"lr": 0.02, "maximize": True}),
    ("AdamW", {"lr": 0.02}),
    ("AdamW", {"lr": 0.02, "amsgrad": True, "weight_decay": 0.2}),
]
NAMES = [f"{n}-{'-'.join(k for k in kw if k != 'lr')}" for n, kw in OPTIMIZERS]


def initial() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(s) for s in SHAPES]


def run(lib: Any, make: Any, steps: int = STEPS, start: Any = None) -> tuple[list[Any], Any]:
    """Minimize the same function in either library; gradients shrink, so that amsgrad has an effect."""
    params = [lib.tensor(w, requires_grad=True) for w in (start or initial())]
    opt, schedule = make(lib.optim, params)
    for i in range(steps):
        opt.zero_grad()
        loss = sum(((p * (j + 1) - i % 7) ** 2).sum() for j, p in enumerate(params)) / (1 + i % 5)
        loss.backward()
        opt.step()
        if schedule is not None:
            schedule.step()
    return [np.array(p.detach().numpy()) for p in params], opt


def same(make: Any, steps: int = STEPS) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, _ = run(gm, make, steps)
    theirs, _ = run(torch, make, steps)
    for a, b, start in zip(ours, theirs, initial(), strict=True):
        assert a.dtype == np.float64 and not np.allclose(b, start)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name, numbers", OPTIMIZERS, ids=NAMES)
def test_as_torch(name: str, numbers: dict[str, Any]) -> None:
    same(lambda o, ps: (getattr(o, name)(ps, **numbers), None))


def test_groups_as_torch() -> None:
    same(
        lambda o, ps: (
            o.SGD([{"params": ps[:1], "lr": 0.01}, {"params": ps[1:], "momentum": 0.5}], lr=0.1),
            None,
        )
    )


SCHEDULES = [
    ("StepLR", (7,), {"gamma": 0.5}),
    ("MultiStepLR", ([3, 3, 20], 0.3), {}),
    ("ExponentialLR", (0.93,), {}),
    ("LambdaLR", (lambda e: 1 / (1 + e),), {}),
    ("CosineAnnealingLR", (12,), {"eta_min": 0.001}),
    ("LinearLR", (), {"start_factor": 0.2, "total_iters": 9}),
    ("ConstantLR", (), {"factor": 0.2, "total_iters": 9}),
]


@pytest.mark.parametrize("name, args, kw", SCHEDULES, ids=[s[0] for s in SCHEDULES])
def test_schedules_as_torch(name: str, args: Any, kw: Any) -> None:
    def make(o: Any, ps: Any) -> tuple[Any, Any]:
        opt = o.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.01}], lr=0.05)
        return opt, getattr(o.lr_scheduler, name)(opt, *args, **kw)

    same(make)


def test_adam_and_step_as_torch() -> None:
    def make(o: Any, ps: Any) -> tuple[Any, Any]:
        opt = o.Adam(ps, lr=0.05)
        return opt, o.lr_scheduler.StepLR(opt, step_size=10, gamma=0.5)

    same(make)


def test_plateau_as_torch() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    metrics = [5, 4, 4, 4.1, 4, 3.9, 3.9, 3.9, 3.9, 3.9, 1, 2, 2, 2, 2, 2, 2, 2]
    for kw in (
        {"patience": 1},
        {"patience": 2, "cooldown": 2, "mode": "max"},
        {"threshold_mode": "abs", "patience": 0},
    ):
        rates = []
        for lib in (gm, torch):
            opt = lib.optim.SGD([lib.tensor([1.0], requires_grad=True)], lr=1.0)
            schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(opt, **kw)
            found = []
            for m in metrics:
                schedule.step(m)
                found.append(opt.param_groups[0]["lr"])
            rates.append(found)
        assert rates[0] == pytest.approx(rates[1]) and rates[0][-1] < 1


# ---- state ----


@pytest.mark.parametrize("name, numbers", OPTIMIZERS, ids=NAMES)
def test_resumed_as_if_never_stopped(name: str, numbers: dict[str, Any]) -> None:
    whole, _ = run(gm, lambda o, ps: (getattr(o, name)(ps, **numbers), None), 35 + 35)
    half, opt = run(gm, lambda o, ps: (getattr(o, name)(ps, **numbers), None), 35)
    saved = copy.deepcopy(opt.state_dict())

    def resumed(o: Any, ps: Any) -> tuple[Any, Any]:
        new = getattr(o, name)(ps, lr=9.0)
        new.load_state_dict(saved)
        return new, None

    rest, _ = run(gm, resumed, 35, half)  # 35 is a period of the loss
    for a, b in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name, numbers", OPTIMIZERS, ids=NAMES)
def test_goes_on_from_torchs_state(name: str, numbers: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    def make(o: Any, ps: Any) -> tuple[Any, Any]:
        return getattr(o, name)(ps, **numbers), None

    half, theirs = run(torch, make, 35)
    want, _ = run(torch, make, 70)
    saved = theirs.state_dict()
    for entry in saved["state"].values():
        for k, v in entry.items():
            entry[k] = gm.tensor(v.numpy()) if isinstance(v, torch.Tensor) else v

    def resumed(o: Any, ps: Any) -> tuple[Any, Any]:
        new = make(o, ps)[0]
        new.load_state_dict(saved)
        return new, None

    got, _ = run(gm, resumed, 35, half)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_names_of_state_are_torchs() -> None:
    _, opt = run(gm, lambda o, ps: (o.Adam(ps, amsgrad=True), None), 2)
    entry = opt.state_dict()["state"][0]
    assert list(entry) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert entry["step"].dtype is gm.float32 and entry["step"].item() == 2
    assert opt.state_dict()["param_groups"][0]["params"] == [0, 1, 2]


def one(**kw: Any) -> tuple[gm.Tensor, Any]:
    p = gm.tensor([1.0, 2.0], requires_grad=True)
    return p, optim.SGD([p], lr=0.1, **kw)


def step(p: gm.Tensor, opt: Any) -> list[float]:
    opt.zero_grad()
    (p * p).sum().backward()
    opt.step()
    return p.tolist()


def test_momentum_that_is_switched_on_later() -> None:
    p, opt = one()
    step(p, opt)
    opt.param_groups[0]["momentum"] = 0.9
    assert step(p, opt) == pytest.approx([0.64, 1.28])
    assert set(opt.state[p]) == {"momentum_buffer"}


def test_loading_replaces_all_state() -> None:
    p, opt = one(momentum=0.9)
    fresh = copy.deepcopy(opt.state_dict())
    step(p, opt)
    assert len(opt.state) == 1
    opt.load_state_dict(fresh)
    assert len(opt.state) == 0


def test_a_state_dict_that_does_not_fit_changes_nothing() -> None:
    _, opt = one()
    saved = opt.state_dict()
    saved["param_groups"][0] |= {"params": [0, 1], "lr": 7.0}
    with pytest.raises(ValueError, match="has 2 parameters in group 0, the optimizer has 1"):
        opt.load_state_dict(saved)
    with pytest.raises(ValueError, match="has 0 parameter groups"):
        opt.load_state_dict({"state": {}, "param_groups": []})
    assert opt.param_groups[0]["lr"] == 0.1


def test_zero_grad() -> None:
    p, opt = one()
    p.grad = gm.ones(2)
    kept = p.grad
    opt.zero_grad(set_to_none=False)
    assert p.grad is kept and kept.tolist() == [0, 0]
    opt.zero_grad()
    assert p.grad is None


def test_a_closure_runs_with_gradients() -> None:
    p, opt = one()

    def closure() -> gm.Tensor:
        assert gm.is_grad_enabled()
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with gm.no_grad():
        assert opt.step(closure).item() == 5
    assert p.tolist() == pytest.approx([0.8, 1.6])


def test_a_parameter_without_gradient_is_left_alone() -> None:
    p, opt = one(momentum=0.9, weight_decay=0.1)
    opt.step()
    assert p.tolist() == [1, 2] and len(opt.state) == 0


def test_lambda_schedule_gives_no_functions_away() -> None:
    _, opt = one()
    schedule = optim.lr_scheduler.LambdaLR(opt, lambda e: 0.5**e)
    schedule.step()
    saved = schedule.state_dict()
    assert "lr_lambdas" not in saved
    again = optim.lr_scheduler.LambdaLR(opt, lambda e: 0.5**e)
    again.load_state_dict(saved)
    again.step()
    assert again.last_epoch == 2


LEAF = gm.zeros(1, requires_grad=True)


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: optim.SGD([], lr=0.1), ValueError, "empty parameter list"),
        (lambda: optim.SGD(LEAF, lr=0.1), TypeError, "one Tensor"),
        (lambda: optim.SGD({LEAF}, lr=0.1), TypeError, "not a set"),
        (lambda: optim.SGD([3.0], lr=0.1), TypeError, "float"),
        (lambda: optim.SGD([LEAF * 2], lr=0.1), ValueError, "non-leaf"),
        (lambda: optim.SGD([{"params": [LEAF]}, {"params": [LEAF]}]), ValueError, "more than one"),
        (lambda: optim.SGD([LEAF], lr=-1), ValueError, "learning rate: -1"),
        (lambda: optim.SGD([LEAF], nesterov=True), ValueError, "Nesterov"),
        (lambda: optim.Adam([LEAF], lr=float("nan")), ValueError, "learning rate"),
        (lambda: optim.Adam([LEAF], betas=(0.9, 1.0)), ValueError, "index 1: 1.0"),
        (lambda: optim.AdamW([LEAF], eps=-1e-8), ValueError, "epsilon"),
        (
            lambda: optim.SGD([LEAF], lr="0.1"),
            TypeError,
            "learning rate: expected a number, not str",
        ),
        (lambda: optim.Adam([LEAF], lr=None), TypeError, "not NoneType"),
        (lambda: optim.SGD([LEAF], lr=gm.ones(2)), ValueError, "2 elements"),
        (lambda: optim.SGD([LEAF], momentum="a"), TypeError, "momentum value"),
        (lambda: optim.SGD([{"params": {LEAF}}]), TypeError, "not a set"),
        (lambda: optim.SGD([LEAF]).add_param_group([LEAF]), TypeError, "must be a dict.* list"),
        (lambda: optim.SGD([{"params": [LEAF]}, LEAF]), TypeError, "must be a dict.* Tensor"),
        (lambda: optim.lr_scheduler.StepLR(LEAF, 3), TypeError, "not an Optimizer"),
    ],
)
def test_what_is_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_the_same_parameter_twice_is_updated_twice() -> None:
    p = gm.tensor([1.0], requires_grad=True)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        opt = optim.SGD([p, p], lr=0.25)
    p.grad = gm.ones(1)
    opt.step()
    assert p.tolist() == [0.5]


# ---- in a trace ----


def test_a_schedule_never_compiles_again() -> None:
    p, opt = one(momentum=0.9)
    schedule = optim.lr_scheduler.ExponentialLR(opt, 0.5)
    f = gm.compile(lambda: step_in(p, opt))
    q, plain = one(momentum=0.9)
    other = optim.lr_scheduler.ExponentialLR(plain, 0.5)
    for _ in range(5):
        f(), schedule.step()
        step_in(q, plain), other.step()
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6)
    assert len(f.log) == 1


def step_in(p: gm.Tensor, opt: Any) -> gm.Tensor:
    opt.zero_grad()
    loss = (p * p).sum()
    loss.backward()
    opt.step()
    return loss


def test_momentum_that_is_switched_on_between_compiled_steps() -> None:
    p, opt = one()
    f = gm.compile(lambda: step_in(p, opt))
    f()
    opt.param_groups[0]["momentum"] = 0.9
    f()
    assert p.tolist() == pytest.approx([0.64, 1.28])
    assert len(f.log) == 2


def test_loaded_state_is_what_a_compiled_step_uses() -> None:
    p, opt = one(momentum=0.9)
    f = gm.compile(lambda: step_in(p, opt))
    f()
    opt.load_state_dict(
        {
            "state": {0: {"momentum_buffer": gm.tensor([10.0, 10.0])}},
            "param_groups": opt.state_dict()["param_groups"],
        }
    )
    before = p.tolist()
    f()
    assert p.tolist() == pytest.approx([b - 0.1 * (9 + 2 * b) for b in before])
