"""Which parameters of the heads are fitted on a frozen MACE, and what restrains them.

Dipoles of some tens of structures determine one charge an element and smooth bond dipoles; a
readout of node features with its hundreds of weights would fit them all and predict none. It
therefore stays at zero unless charges of atoms are labels, or a penalty is given for it.
"""

from dataclasses import dataclass

import torch

from mace_smile.model.smile_mace import SmileMACE

#: Heads that are fitted; others, such as that of Born effective charges, are kept.
FITTED_HEADS = ("charges", "atomic_dipoles", "susceptibility", "given_susceptibility")
#: Weights that multiply what a head has computed: at zero, it predicts element charges only.
READOUTS = ("charges.output.weight", "atomic_dipoles.gates.weight", "atomic_dipoles.gates.bias")
BONDS = "atomic_dipoles.bond_weights"
FREE = ("element_charges", "log_screening")
#: Penalty on what shall be free: it only chooses among solutions that fit equally well.
NEARLY_ZERO = 1e-9


@dataclass(frozen=True)
class FittedParameters:
    """Parameters that are fitted and the diagonal quadratic penalty on their change."""

    names: tuple[str, ...]
    """Names within ``charge_heads``."""
    parameters: tuple[torch.nn.Parameter, ...]
    """The parameters, which the fit changes in place."""
    penalties: torch.Tensor
    """Penalty of each of their entries, concatenated, shape ``(n_parameters,)``."""
    start: torch.Tensor
    """Their values at the start, from which the penalty pulls nothing."""

    def values(self) -> torch.Tensor:
        """Present values, concatenated."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters])

    def assign(self, values: torch.Tensor) -> None:
        """Set all values."""
        position = 0
        with torch.no_grad():
            for parameter in self.parameters:
                part = values[position : position + parameter.numel()]
                parameter.copy_(part.view_as(parameter))
                position += parameter.numel()


def choose_parameters(
    model: SmileMACE, l2_dipoles: float, l2_features: float | None
) -> FittedParameters:
    """Set readouts of node features to zero, and say what is fitted.

    :param model: with fresh heads; changed in place.
    :param l2_dipoles: penalty on the bond dipole of the smoothest radial function; it grows
        with the square of the number of nodes.
    :param l2_features: penalty on weights of readouts of node features; None leaves them out.
    """
    names, parameters, penalties = [], [], []
    with torch.no_grad():
        for name, parameter in model.charge_heads.named_parameters():
            if name in READOUTS:
                parameter.zero_()
            if name.split(".")[0] not in FITTED_HEADS:
                continue
            if name.split(".")[-1] in FREE:
                penalty = torch.full_like(parameter, NEARLY_ZERO)
            elif name == BONDS:
                order = torch.arange(1, parameter.shape[-1] + 1).to(parameter)
                penalty = (l2_dipoles * order.square()).expand_as(parameter)
            elif l2_features is not None:
                penalty = torch.full_like(parameter, l2_features)
            else:
                continue
            names.append(name)
            parameters.append(parameter)
            penalties.append(penalty.flatten())
    start = torch.cat([parameter.detach().flatten() for parameter in parameters])
    return FittedParameters(tuple(names), tuple(parameters), torch.cat(penalties), start)
