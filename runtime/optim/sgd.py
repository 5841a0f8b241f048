"""Stochastic gradient descent with momentum. Source: Sutskever et al., ICML 2013, in the form that PyTorch gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...frontend.functions.arithmetic import where
from ...frontend.functions.creation import zeros, zeros_like
from ...frontend.tensor import Tensor
from .optimizer import Optimizer, check


class SGD(Optimizer):
    """``p -= lr * d`` where d is the gradient, or with momentum the buffer ``b = momentum * b + (1 - dampening) * d``.

    The first buffer is the gradient itself. ``foreach``, ``differentiable`` and ``fused`` are taken for compatibility:
    a compiled step is one kernel for all parameters anyway.

    >>> import gristmill as gm
    >>> p = gm.tensor([1.0], requires_grad=True)
    >>> opt = SGD([p], lr=0.5)
    >>> (p * p).sum().backward(); opt.step(); p
    tensor([0.], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check("learning rate", lr, lambda v: v >= 0)
        check("momentum value", momentum, lambda v: v >= 0)
        check("weight_decay value", weight_decay, lambda v: v >= 0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def init_state(self, p: Tensor, group: Any) -> dict[str, Any]:
        """A zero buffer; with dampening also a count, since the first step is not dampened."""
        if group["momentum"] == 0:
            return {}
        buffer = {"momentum_buffer": zeros_like(p)}
        return buffer | {"step": zeros(())} if group["dampening"] != 0 else buffer

    def entries(self, group: Any) -> tuple[str, ...]:
        """A buffer once there is momentum, a count once there is dampening."""
        if group["momentum"] == 0:
            return ()
        return ("momentum_buffer", "step") if group["dampening"] != 0 else ("momentum_buffer",)

    def complete(self, found: Mapping[str, Any], p: Tensor, group: Any) -> dict[str, Any]:
        """A count that joins a buffer (as PyTorch stores it) is past its first step."""
        fresh = self.init_state(p, group)
        if "momentum_buffer" in found and "step" in fresh:
            fresh["step"].fill_(1)
        return fresh

    def update(self, p: Tensor, grad: Tensor, group: Any, state: Any) -> None:
        """One step of one parameter."""
        d = -grad if group["maximize"] else grad
        if group["weight_decay"] != 0:
            d = d + p * group["weight_decay"]
        if group["momentum"] != 0:
            buffer = state["momentum_buffer"]
            share = d
            if group["dampening"] != 0:
                step = state["step"]
                share = where(step == 0, d, d * (1 - group["dampening"]))
                step.add_(1)
            buffer.mul_(group["momentum"]).add_(share)
            d = d + buffer * group["momentum"] if group["nesterov"] else buffer
        p.sub_(d * group["lr"])
