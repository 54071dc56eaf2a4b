"""A learned electronic susceptibility, above -1 by construction."""

import math

import torch
from e3nn.util.jit import compile_mode


@compile_mode("script")
class LearnedSusceptibility(torch.nn.Module):
    """The susceptibility chi of the macro-dipole relation (S0 eq. 4) as a parameter.

    .. math::

        1 + \\chi = e^\\theta

    with any real theta, so a step of an optimizer changes the screening 1 + chi by a fraction of
    itself, and never its sign.

    :param initial: chi at the start, above -1.
    """

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log_screening = torch.nn.Parameter(torch.tensor(math.log1p(initial)))

    def forward(self) -> torch.Tensor:
        """The susceptibility chi, shape ``()``."""
        return torch.expm1(self.log_screening)
