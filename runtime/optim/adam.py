"""Adam and AdamW.

Sources: Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019; Reddi et al., ICLR 2018 (amsgrad).
"""

from __future__ import annotations

from typing import Any

from ...frontend.functions.arithmetic import maximum
from ...frontend.functions.creation import zeros, zeros_like
from ...frontend.tensor import Tensor
from ...ir.dtypes import float32, float64
from .optimizer import Optimizer, check


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square, both corrected for their start at zero.

    The corrections are computed in float64. ``foreach``, ``capturable``, ``differentiable`` and ``fused`` are taken for
    compatibility: a compiled step is one kernel for all parameters anyway.

    >>> import gristmill as gm
    >>> p = gm.tensor([1.0], requires_grad=True)
    >>> opt = Adam([p], lr=0.1)
    >>> (p * p).sum().backward(); opt.step(); p
    tensor([0.9000], requires_grad=True)
    """

    decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check("learning rate", lr, lambda v: v >= 0)
        check("epsilon value", eps, lambda v: v >= 0)
        check("beta parameter at index 0", betas[0], lambda v: 0 <= v < 1)
        check("beta parameter at index 1", betas[1], lambda v: 0 <= v < 1)
        check("weight_decay value", weight_decay, lambda v: v >= 0)
        super().__init__(params, {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "foreach": foreach,
            "maximize": maximize, "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay or self.decoupled,
        })  # fmt: skip

    def init_state(self, p: Tensor, group: Any) -> dict[str, Any]:
        """A count of steps and the running means, all zero."""
        out = {
            "step": zeros((), dtype=float32),
            "exp_avg": zeros_like(p),
            "exp_avg_sq": zeros_like(p),
        }
        return out | {"max_exp_avg_sq": zeros_like(p)} if group["amsgrad"] else out

    def entries(self, group: Any) -> tuple[str, ...]:
        """The largest mean square, once it is asked for."""
        return ("max_exp_avg_sq",) if group["amsgrad"] else ()

    def update(self, p: Tensor, grad: Tensor, group: Any, state: Any) -> None:
        """One step of one parameter."""
        beta1, beta2 = group["betas"]
        lr, weight_decay = group["lr"], group["weight_decay"]
        if group["maximize"]:
            grad = -grad
        if weight_decay != 0:
            if group["decoupled_weight_decay"]:
                p.mul_(1 - lr * weight_decay)
            else:
                grad = grad + p * weight_decay
        step, mean, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
        step.add_(1)
        mean.add_((grad - mean) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        count = step.to(float64)
        size = lr / (1 - beta1**count)
        root = (1 - beta2**count).sqrt()
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            largest.copy_(maximum(largest, square))
            square = largest
        p.sub_(mean * size / (square.sqrt() / root + group["eps"]))


class AdamW(Adam):
    """Adam with weight decay apart from the gradient.

    >>> import gristmill as gm
    >>> AdamW([gm.zeros(2, requires_grad=True)]).param_groups[0]["weight_decay"]
    0.01
    """

    decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
        )
