"""The door to functional transforms."""

from .frontend.transforms import grad, value_and_grad, vjp
