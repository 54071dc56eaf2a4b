"""From energy charges to response charges: a factor of the model, or of each atom.

The energy fixes charges up to a factor and a sign (S3, S4), so a factor may be negative. Its sign
is stored and never learned; what is learned is positive:

.. math::

    s = \\pm e^\\theta, \\qquad \\gamma_i = s \\, g_i, \\quad g_i = e^{f(h_i)}

with s one number of the model and g a readout f of the node features of atom i.
"""

import math
from typing import List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode

from mace_smile.model.edge_vectors import irrep_columns
from mace_smile.model.element_axes import ElementAxis


@compile_mode("script")
class LearnedScale(torch.nn.Module):
    """The factor s as a parameter.

    :param initial: s at the start, not zero; its sign stays.
    """

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.sign = math.copysign(1.0, initial)
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(abs(initial))))

    def forward(self) -> torch.Tensor:
        """The factor s, shape ``()``."""
        return self.sign * torch.exp(self.log_scale)


@compile_mode("script")
class ScreeningHead(torch.nn.Module):
    """The factor g of each atom, positive, and one at the start.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: width of the hidden layer.
    """

    element_axes = (ElementAxis("element_factors", 0),)
    columns: torch.Tensor

    def __init__(self, layers: List[o3.Irreps], n_elements: int, channels: int) -> None:
        super().__init__()
        columns = irrep_columns(layers, o3.Irrep("0e"))
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.hidden = torch.nn.Linear(len(columns), channels)
        self.output = torch.nn.Linear(channels, 1, bias=False)
        torch.nn.init.zeros_(self.output.weight)
        self.element_factors = torch.nn.Parameter(torch.zeros(n_elements))

    def forward(self, node_feats: torch.Tensor, node_attrs: torch.Tensor) -> torch.Tensor:
        """The factors, shape ``(n_atoms,)``.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        """
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.columns]))
        return torch.exp(self.output(hidden).squeeze(-1) + node_attrs @ self.element_factors)
