"""The long-range energy of a model: charges to potentials to energies of atoms.

The physical readout is half of charge times potential. The learned one (LOREM with scalars,
S3 eq. 6) adds a function of all charges and potentials of an atom,

.. math::

    U_i = \\frac{1}{2} q_{i0} \\phi_{i0} + \\sum_c q_{ic} \\, w_c(q_i, \\phi_i)

which is zero for an atom without charges.

The sum leaves out the energy of each charge with itself, and so gets more negative as charges
grow, by an amount that forces do not show. The hardness of the elements (S2 eq. 5),

.. math::

    U_i = \\frac{1}{2} J_{Z_i} q_i^2

starts with what was left out and is learned, so the energy of charges near each other that
add up to nothing starts near zero whatever their size. Atomic dipoles that enter the energy have
such a term, too.
"""

import math
from typing import Dict, Final, List, Optional

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode

from mace_smile import quantities
from mace_smile.model.edge_vectors import irrep_columns
from mace_smile.model.element_axes import ElementAxis
from mace_smile.physics.electrostatics import COULOMB_CONSTANT, Electrostatics
from mace_smile.physics.parameters import CoulombParameters


@compile_mode("script")
class HiddenCharges(torch.nn.Module):
    """Charges beside the static one, without labels, neutral in each structure.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param n_charges: charges of each atom.
    :param width: of the hidden layer.
    """

    element_axes = (ElementAxis("element_charges.weight", 1),)
    columns: torch.Tensor

    def __init__(
        self, layers: List[o3.Irreps], n_elements: int, n_charges: int, width: int
    ) -> None:
        super().__init__()
        columns = irrep_columns(layers, o3.Irrep("0e"))
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.hidden = torch.nn.Linear(len(columns), width)
        self.output = torch.nn.Linear(width, n_charges, bias=False)
        self.element_charges = torch.nn.Linear(n_elements, n_charges, bias=False)
        torch.nn.init.normal_(self.output.weight, std=0.1 / math.sqrt(width))
        torch.nn.init.normal_(self.element_charges.weight, std=0.1)

    def forward(
        self, node_feats: torch.Tensor, node_attrs: torch.Tensor, batch: torch.Tensor, n_graphs: int
    ) -> torch.Tensor:
        """Charges, shape ``(n_atoms, n_charges)``, in e.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param batch: structure of each atom, shape ``(n_atoms,)``.
        """
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.columns]))
        charges = self.output(hidden) + self.element_charges(node_attrs)
        sums = torch.zeros((n_graphs, charges.shape[1]), dtype=charges.dtype, device=charges.device)
        n_atoms = sums.index_add(0, batch, torch.ones_like(charges)).clamp(min=1.0)
        return charges - (sums.index_add(0, batch, charges) / n_atoms)[batch]


@compile_mode("script")
class Hardness(torch.nn.Module):
    """Energy it takes to charge an atom, a property of its element.

    :param n_elements: number of chemical elements of the model.
    :param smearing: width of the Gaussian charge whose energy with itself it starts with, in A.
    """

    element_axes = (ElementAxis("relative", 0),)

    def __init__(self, n_elements: int, smearing: float) -> None:
        super().__init__()
        self.initial = 2.0 * COULOMB_CONSTANT / (math.sqrt(2.0 * math.pi) * smearing)
        self.relative = torch.nn.Parameter(torch.ones(n_elements))

    def forward(self, charges: torch.Tensor, node_attrs: torch.Tensor) -> torch.Tensor:
        """Energy of each atom, shape ``(n_atoms,)``, in eV; zero for an atom without charge.

        :param charges: shape ``(n_atoms,)``, in e.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        """
        return 0.5 * self.initial * (node_attrs * self.relative).sum(dim=1) * charges**2


@compile_mode("script")
class DipoleHardness(torch.nn.Module):
    """Energy it takes to polarise an atom, a property of its element: an inverse polarizability.

    :param n_elements: number of chemical elements of the model.
    :param smearing: width of the Gaussian dipole whose energy with itself it starts with, in A.
    """

    element_axes = (ElementAxis("relative", 0),)

    def __init__(self, n_elements: int, smearing: float) -> None:
        super().__init__()
        self.initial = 2.0 * COULOMB_CONSTANT / (3.0 * math.sqrt(2.0 * math.pi) * smearing**3)
        self.relative = torch.nn.Parameter(torch.ones(n_elements))

    def forward(self, dipoles: torch.Tensor, node_attrs: torch.Tensor) -> torch.Tensor:
        """Energy of each atom, shape ``(n_atoms,)``, in eV; zero for an atom without dipole.

        :param dipoles: shape ``(n_atoms, 3)``, in e A.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        """
        squares = dipoles.square().sum(dim=1)
        return 0.5 * self.initial * (node_attrs * self.relative).sum(dim=1) * squares


@compile_mode("script")
class LearnedReadout(torch.nn.Module):
    """Energy of an atom from its charges and potentials, beyond half of their product.

    :param n_channels: charges of each atom.
    :param width: of the hidden layer.
    """

    def __init__(self, n_channels: int, width: int) -> None:
        super().__init__()
        self.potential_unit = COULOMB_CONSTANT  # that of a charge at 1 A, in V
        self.hidden = torch.nn.Linear(2 * n_channels, width)
        self.output = torch.nn.Linear(width, n_channels)
        # Near the physical readout at the start, with a gradient for every parameter.
        torch.nn.init.normal_(self.output.weight, std=0.01 / math.sqrt(width))
        torch.nn.init.zeros_(self.output.bias)

    def forward(self, charges: torch.Tensor, potentials: torch.Tensor) -> torch.Tensor:
        """Energy of each atom, shape ``(n_atoms,)``, in eV; zero for an atom without charges.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param potentials: shape ``(n_atoms, n_channels)``, in V.
        """
        inputs = torch.cat([charges, potentials / self.potential_unit], dim=1)
        weights = self.output(torch.nn.functional.silu(self.hidden(inputs)))
        return self.potential_unit * (charges * weights).sum(dim=1)


@compile_mode("script")
class LongRange(torch.nn.Module):
    """Potentials of the charges of a batch, with the neighbour list that belongs to it.

    :param parameters: of the sum.
    :param has_second_list: whether the batch holds a neighbour list for the real-space part.
    """

    has_second_list: Final[bool]
    is_full: Final[bool]

    def __init__(self, parameters: CoulombParameters, has_second_list: bool) -> None:
        super().__init__()
        self.is_full = parameters.terms == "full"
        self.has_second_list = has_second_list
        self.edge_index_key = quantities.COULOMB_EDGE_INDEX
        self.unit_shifts_key = quantities.COULOMB_UNIT_SHIFTS
        self.electrostatics = Electrostatics(parameters)

    def forward(
        self,
        charges: torch.Tensor,
        whole: torch.Tensor,
        positions: torch.Tensor,
        cells: torch.Tensor,
        periodic: torch.Tensor,
        data: Dict[str, torch.Tensor],
        dipoles: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Potentials at the atoms, shape ``(n_atoms, n_channels)``, in V.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param whole: positions made whole along slab normals, shape ``(n_atoms, 3)``, in A.
        :param positions: positions the edges of the batch refer to, shape ``(n_atoms, 3)``.
        :param cells: strained as the positions, shape ``(n_graphs, 3, 3)``, in A.
        :param periodic: shape ``(n_graphs, 3)``, bool.
        :param data: the batch.
        :param dipoles: beside the first charges, on their scale, shape ``(n_atoms, 3)``, in e A;
            three more columns of the result are then the gradient of the first potential, in V/A.
        """
        edge_index, vectors = self.edges(positions, cells, data)
        return self.electrostatics(
            charges, whole, cells, periodic, data["batch"], edge_index, vectors, None, dipoles
        )

    def electric_field(
        self,
        charges: torch.Tensor,
        whole: torch.Tensor,
        positions: torch.Tensor,
        cells: torch.Tensor,
        periodic: torch.Tensor,
        data: Dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Electric field of all other charges at the atoms, shape ``(n_atoms, 3)``, in V/A.

        Arguments as :meth:`forward`, of one channel, without dipoles; the result holds no graph.
        """
        edge_index, vectors = self.edges(positions, cells, data)
        # An engine that wants no forces may have switched gradients off.
        had_gradients = torch.is_grad_enabled()
        torch.set_grad_enabled(True)
        targets = whole.detach().clone().requires_grad_(True)
        potential = self.electrostatics(
            charges.detach(),
            whole.detach(),
            cells.detach(),
            periodic,
            data["batch"],
            edge_index,
            vectors.detach(),
            targets,
        )
        gradient = torch.autograd.grad([potential.sum()], [targets])[0]
        torch.set_grad_enabled(had_gradients)
        assert gradient is not None
        return -gradient

    def edges(
        self, positions: torch.Tensor, cells: torch.Tensor, data: Dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sender and receiver ``(2, n_edges)`` and vectors ``(n_edges, 3)`` in A; or none."""
        if not self.is_full:
            index = torch.zeros((2, 0), dtype=torch.long, device=positions.device)
            return index, torch.zeros((0, 3), dtype=positions.dtype, device=positions.device)
        index, shifts = data["edge_index"], data["shifts"]
        if self.has_second_list:
            if self.edge_index_key not in data:
                raise ValueError(
                    "this model has a neighbour list of its own for charges, which MACE's tools do "
                    "not make: use SmileCalculator, mace_smile_eval_configs or mace_smile_export"
                )
            index = data[self.edge_index_key]
            unit_shifts = data[self.unit_shifts_key].unsqueeze(1)
            shifts = torch.bmm(unit_shifts, cells[data["batch"][index[0]]]).squeeze(1)
        return index, positions[index[1]] - positions[index[0]] + shifts
