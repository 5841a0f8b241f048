"""Learning rate schedules: each ``step()`` sets the rate of every group for the next epoch (or step).

A step scales the rate that is there, as in PyTorch, so that schedules of one optimizer multiply and a rate that the
program sets is kept. ``step(epoch)`` jumps: it computes the rate from the initial one.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...frontend.numbers import cos
from ...frontend.reads import MISSING
from ...frontend.state import bump, state
from ...frontend.tensor import Tensor
from ...frontend.tree import watch
from .optimizer import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "ReduceLROnPlateau",
    "StepLR",
]


@watch
class LRScheduler:
    """The base class: a subclass defines ``get_lr()``, the rates for epoch ``last_epoch``, one for each group.

    It may define ``_get_closed_form_lr()``, the same from the initial rates alone.
    """

    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for i, group in enumerate(optimizer.param_groups):
            if "initial_lr" in group:
                continue
            if last_epoch != -1:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0: load the optimizer's state first, or leave last_epoch out"
                )
            rate = group["lr"]
            group["initial_lr"] = rate.clone() if isinstance(rate, Tensor) else rate
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def __setattr__(self, name: str, value: Any) -> None:
        if state.trace is not None:
            state.trace.assign(self, name, self.__dict__.get(name, MISSING))
        elif name in self.__dict__.get("_watched", ()) or name not in self.__dict__:
            bump()
        object.__setattr__(self, name, value)

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        raise NotImplementedError(f"{type(self).__name__} defines no get_lr")

    def get_last_lr(self) -> list[Any]:
        """The rates that were last set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch (or to ``epoch``)."""
        self._step_count += 1
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            _warn_of_epoch()
            self.last_epoch = epoch
            rates = getattr(self, "_get_closed_form_lr", self.get_lr)()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            _set_rate(group, rate)
        self._last_lr = _rates(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        hidden = ("optimizer", "_watched")
        return {k: v for k, v in self.__dict__.items() if k not in hidden and not callable(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state dict."""
        self.__dict__.update(state_dict)
        bump()

    def _scaled(self, factor: float) -> list[Any]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _from_base(self, factor: float) -> list[Any]:
        return [rate * factor for rate in self.base_lrs]


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def _rates(optimizer: Optimizer) -> list[Any]:
    """The rates of the groups; a tensor is copied, since it will be written."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]


def _set_rate(group: Any, rate: Any) -> None:
    """Set a group's rate; one that is a tensor stays the same tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _warn_of_epoch() -> None:
    warnings.warn(
        "the epoch parameter of scheduler.step() is deprecated: call step() once for each epoch",
        UserWarning,
        stacklevel=3,
    )


class StepLR(LRScheduler):
    """The rate times ``gamma`` every ``step_size`` epochs.

    >>> import gristmill as gm
    >>> from gristmill import optim
    >>> opt = optim.SGD([gm.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = StepLR(opt, step_size=2, gamma=0.5)
    >>> for _ in range(4): schedule.step()
    >>> opt.param_groups[0]["lr"]
    0.25
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Scaled at every multiple of the step size."""
        return self._scaled(
            self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else 1
        )

    def _get_closed_form_lr(self) -> list[Any]:
        return self._from_base(self.gamma ** (self.last_epoch // self.step_size))


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each of the ``milestones``."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Scaled as often as a milestone stands here."""
        here = sum(n for place, n in self.milestones.items() if place == self.last_epoch)
        return self._scaled(self.gamma**here)

    def _get_closed_form_lr(self) -> list[Any]:
        passed = sum(n for place, n in self.milestones.items() if place <= self.last_epoch)
        return self._from_base(self.gamma**passed)


class ExponentialLR(LRScheduler):
    """The rate times ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Scaled but at the start."""
        return self._scaled(1 if self._is_initial else self.gamma)

    def _get_closed_form_lr(self) -> list[Any]:
        return self._from_base(self.gamma**self.last_epoch)


class ConstantLR(LRScheduler):
    """The rate times ``factor`` for the first ``total_iters`` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(
                f"Constant multiplicative factor expected to be between 0 and 1, not {factor}"
            )
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Scaled at the start, and back at the end."""
        if self.last_epoch == 0:
            return self._scaled(self.factor)
        return self._scaled(1 if self.last_epoch != self.total_iters else 1.0 / self.factor)

    def _get_closed_form_lr(self) -> list[Any]:
        return self._from_base(self.factor if self.last_epoch < self.total_iters else 1)


class LinearLR(LRScheduler):
    """From ``start_factor`` to ``end_factor`` times the rate over ``total_iters`` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal to 1, "
                f"not {start_factor}"
            )
        if not 0 <= end_factor <= 1:
            raise ValueError(
                f"Ending multiplicative factor expected to be between 0 and 1, not {end_factor}"
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Scaled by the factor of this epoch over that of the epoch before."""
        if self.last_epoch == 0:
            return self._scaled(self.start_factor)
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._scaled(1)
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self._scaled(1 + rise / before)

    def _get_closed_form_lr(self) -> list[Any]:
        done = min(self.last_epoch, self.total_iters) / self.total_iters
        return self._from_base(self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """From the rate to ``eta_min`` along half a cosine of ``T_max`` epochs (Loshchilov and Hutter, ICLR 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """What is above ``eta_min``, scaled by this epoch's share over the last one's."""
        if self._is_initial:
            return self._scaled(1)
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # the last share was 0
            first = 1 - self._share(1)
            pairs = zip(self.optimizer.param_groups, self.base_lrs, strict=True)
            return [group["lr"] + (rate - self.eta_min) * first for group, rate in pairs]
        ratio = self._share(self.last_epoch) / self._share(self.last_epoch - 1)
        return [
            ratio * (group["lr"] - self.eta_min) + self.eta_min
            for group in self.optimizer.param_groups
        ]

    def _get_closed_form_lr(self) -> list[Any]:
        share = self._share(self.last_epoch)
        return [self.eta_min + (rate - self.eta_min) * share for rate in self.base_lrs]

    def _share(self, epoch: int) -> float:
        """How much of the way from ``eta_min`` to the rate is left at an epoch."""
        return (1 + cos(math.pi * epoch / self.T_max)) / 2


class LambdaLR(LRScheduler):
    """The initial rate times a function of the epoch (one for all groups, or one for each)."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = (
            list(lr_lambda) if isinstance(lr_lambda, Sequence) else [lr_lambda] * groups
        )
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the functions, which the program gives again."""
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}

    def get_lr(self) -> list[Any]:
        """The functions' values."""
        return [
            rate * f(self.last_epoch)
            for rate, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class ReduceLROnPlateau(LRScheduler):
    """The rate times ``factor`` when a metric has not improved for more than ``patience`` steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        _check_optimizer(optimizer)
        if factor >= 1.0:
            raise ValueError("factor should be < 1.0")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError("mode is 'min' or 'max', threshold_mode is 'rel' or 'abs'")
        groups = len(optimizer.param_groups)
        listed = isinstance(min_lr, list | tuple)
        self.default_min_lr = None if listed else min_lr
        self.min_lrs: list[Any] = list(min_lr) if listed else [min_lr] * groups  # type: ignore[arg-type]
        if len(self.min_lrs) != groups:
            raise ValueError(f"expected {groups} min_lrs, got {len(self.min_lrs)}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.eps, self.best = eps, math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = _rates(optimizer)

    def _is_better(self, a: float) -> bool:
        margin = self.threshold if self.mode == "max" else -self.threshold
        limit = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return a > limit if self.mode == "max" else a < limit

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Look at the metric and lower the rate if it is time."""
        if state.trace is not None:
            state.trace.refuse(
                "step() of a ReduceLROnPlateau inside a traced function",
                "call it after the compiled step: a changed rate compiles nothing again",
            )
        current = float(metrics)
        if epoch is not None:
            _warn_of_epoch()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = _rates(self.optimizer)

    @property
    def in_cooldown(self) -> bool:
        """Whether bad steps do not count yet, after the rate was lowered."""
        return self.cooldown_counter > 0

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"the optimizer has {len(groups)} parameter groups, and there are {len(self.min_lrs)} min_lrs: "
                    "set min_lrs again after a group was added"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs, strict=True):
            rate = group["lr"].item() if isinstance(group["lr"], Tensor) else group["lr"]
            new = max(rate * self.factor, least)
            if rate - new > self.eps:
                _set_rate(group, new)
