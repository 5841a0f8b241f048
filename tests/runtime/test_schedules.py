"""Learning rate schedules against PyTorch: chained, jumped, resumed, with rates that the program sets, refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import gristmill as gm
from gristmill import optim

Made = Callable[[Any, Any], Any]
LR = optim.lr_scheduler

MAKERS: dict[str, Made] = {
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "milestones": lambda s, o: s.MultiStepLR(o, [2, 2, 5, 9], gamma=0.5),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "constant": lambda s, o: s.ConstantLR(o, 0.5, total_iters=4),
    "constant-none": lambda s, o: s.ConstantLR(o, 0.5, total_iters=0),
    "linear": lambda s, o: s.LinearLR(o, 0.25, 0.75, total_iters=6),
    "linear-none": lambda s, o: s.LinearLR(o, 0.5, total_iters=0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 4, eta_min=0.01),
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 1 / (1 + e)),
}


def optimizer(lib: Any, lr: Any = 0.8) -> Any:
    leaves = [lib.tensor([1.0], requires_grad=True) for _ in range(2)]
    return lib.optim.SGD([{"params": leaves[:1]}, {"params": leaves[1:], "lr": 0.1}], lr=lr)


def rates(opt: Any) -> list[float]:
    return [float(group["lr"]) for group in opt.param_groups]


def same(run: Callable[[Any], list[Any]]) -> list[Any]:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = run(gm), run(torch)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-12)
    return ours


@pytest.mark.parametrize("second", MAKERS)
@pytest.mark.parametrize("first", MAKERS)
def test_chained_as_torch(first: str, second: str) -> None:
    def run(lib: Any) -> list[Any]:
        opt = optimizer(lib)
        schedules = [MAKERS[name](lib.optim.lr_scheduler, opt) for name in (first, second)]
        found = [rates(opt)]
        for _ in range(12):
            for schedule in schedules:
                schedule.step()
            found += [rates(opt), schedule.get_last_lr()]
        return found

    same(run)


@pytest.mark.parametrize("name", MAKERS)
def test_a_rate_that_the_program_sets_as_torch(name: str) -> None:
    def run(lib: Any) -> list[Any]:
        opt, found = optimizer(lib), []
        schedule = MAKERS[name](lib.optim.lr_scheduler, opt)
        for i in range(12):
            if i == 3:
                opt.param_groups[0]["lr"] = 0.3
            schedule.step()
            found.append(rates(opt))
        return found

    same(run)


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "linear-none"])
def test_jumps_as_torch(name: str) -> None:
    def run(lib: Any) -> list[Any]:
        opt, found = optimizer(lib), []
        schedule = MAKERS[name](lib.optim.lr_scheduler, opt)
        for epoch in (7, None, 2, None, 0, None):
            schedule.step(epoch)
            found += [rates(opt), [schedule.last_epoch]]
        return found

    same(run)


@pytest.mark.parametrize("name", MAKERS)
def test_resumed_as_torch(name: str) -> None:
    def run(lib: Any) -> list[Any]:
        opt, found = optimizer(lib), []
        schedule = MAKERS[name](lib.optim.lr_scheduler, opt)
        for _ in range(3):
            schedule.step()
        saved, again = schedule.state_dict(), optimizer(lib)
        again.load_state_dict(copy.deepcopy(opt.state_dict()))
        new = MAKERS[name](lib.optim.lr_scheduler, again)
        new.load_state_dict(saved)
        for _ in range(3):
            new.step()
            found.append(rates(again))
        late = lib.optim.lr_scheduler.ExponentialLR(again, 0.5, last_epoch=5)
        late.step()
        return [*found, rates(again), late.base_lrs]

    same(run)


def test_a_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    opt = optimizer(gm, gm.tensor(0.5))
    rate = opt.param_groups[0]["lr"]
    LR.ExponentialLR(opt, 0.5).step()
    assert opt.param_groups[0]["lr"] is rate and rate.item() == 0.25


def test_chained_schedules_never_compile_again() -> None:
    p = gm.tensor([1.0, 2.0], requires_grad=True)
    opt = optim.SGD([p], lr=0.1)
    schedules = [LR.LinearLR(opt, 0.5, 1.0, 3), LR.CosineAnnealingLR(opt, 5)]

    @gm.compile
    def step() -> None:
        opt.zero_grad()
        (p * p).sum().backward()
        opt.step()

    for _ in range(6):
        before, rate = p.tolist(), opt.param_groups[0]["lr"]
        step()
        assert p.tolist() == pytest.approx([b - 2 * b * rate for b in before], rel=1e-5)
        for schedule in schedules:
            schedule.step()
    assert len(step.log) == 1


# ---- plateaus ----


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("sign", [1, -1])
def test_plateaus_as_torch(mode: str, threshold_mode: str, sign: int) -> None:
    numbers = [5, 4.9, 4.8, 4.85, 4.7, 4.69, 3, 3.01, 2.99, 2.9, 3.2, 3.3, 3.25, 3.24, 0, 0, 1]

    def run(lib: Any) -> list[Any]:
        opt, found = optimizer(lib), []
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(
            opt, mode, 0.5, 1, 0.02, threshold_mode, min_lr=[0.1, 0.02]
        )
        for n in numbers:
            schedule.step(lib.tensor(sign * n))
            found += [rates(opt), schedule.get_last_lr(), [schedule.best, schedule.num_bad_epochs]]
        return found

    same(run)


def test_a_group_that_is_added_under_a_plateau() -> None:
    for least, words in ((0.0, ""), ([0.0, 0.0], "3 parameter groups, and there are 2 min_lrs")):
        opt = optimizer(gm)
        schedule = LR.ReduceLROnPlateau(opt, patience=0, min_lr=least)
        opt.add_param_group({"params": [gm.ones(1, requires_grad=True)]})
        schedule.step(1)
        if words:
            with pytest.raises(RuntimeError, match=words):
                schedule.step(2)
        else:
            schedule.step(2)
            assert rates(opt) == pytest.approx([0.08, 0.01, 0.08])


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda o: LR.ConstantLR(o, factor=1.5), ValueError, "between 0 and 1, not 1.5"),
        (lambda o: LR.ConstantLR(o, factor=-0.5), ValueError, "between 0 and 1"),
        (lambda o: LR.LinearLR(o, start_factor=0), ValueError, "greater than 0"),
        (lambda o: LR.LinearLR(o, start_factor=2), ValueError, "less or equal to 1"),
        (lambda o: LR.LinearLR(o, end_factor=-1), ValueError, "Ending .* between 0 and 1"),
        (lambda o: LR.StepLR(o, 3, last_epoch=0), KeyError, r"initial_lr.*param_groups\[0\]"),
        (lambda o: LR.LambdaLR(o, [abs]), ValueError, "expected 2 lr_lambdas, but got 1"),
        (lambda o: LR.LRScheduler(o), NotImplementedError, "no get_lr"),
        (lambda o: LR.ReduceLROnPlateau(3), TypeError, "int is not an Optimizer"),
        (lambda o: LR.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor"),
        (lambda o: LR.ReduceLROnPlateau(o, mode="least"), ValueError, "mode"),
        (lambda o: LR.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "expected 2 min_lrs, got 1"),
    ],
)
def test_what_is_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(optimizer(gm))
