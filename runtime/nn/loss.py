"""Losses as modules."""

from __future__ import annotations

from typing import Any

from ...frontend.functions import nn as functions
from ...frontend.tensor import Tensor
from .module import Module


class _Loss(Module):
    """A loss with a reduction: ``mean``, ``sum`` or ``none``."""

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.reduction = functions.legacy(size_average, reduce, reduction)


class MSELoss(_Loss):
    """The mean squared difference."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return functions.mse_loss(input, target, reduction=self.reduction)


class _Weighted(_Loss):
    """A loss over classes with a weight for each."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class NLLLoss(_Weighted):
    """Minus the log-probability of the target class."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return functions.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class CrossEntropyLoss(_Weighted):
    """The cross entropy between logits and classes (or probabilities)."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return functions.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
