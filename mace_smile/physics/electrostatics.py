"""Electrostatic potential of Gaussian-smeared or point charges: periodic, slab and open.

Dipoles beside the charges are an option (:mod:`.dipoles`).

The energy of the charges q_i (in e) of one structure is

.. math::

    U = \\frac{1}{2} \\sum_i q_i \\phi_i

with the potential :math:`\\phi_i` (in V) of all other charges and all images, each seen through
the pair interaction (S4 eq. 2)

.. math::

    v(r) = k_e \\, \\mathrm{erf}(r / \\sqrt{2} \\sigma) / r

with ``long_range`` terms, and k_e / r with ``full`` ones. Kernels, pair potentials and mesh
weights are torch-pme's. The boundary of each structure says how the sum is done:

- *periodic*: Ewald sum or a mesh (:mod:`.ewald`, :mod:`.mesh`). A net charge Q is neutralised by a
  uniform background (:math:`-\\pi k_e \\sigma^2 Q^2 / V` is its term, torch-pme's).
- *slab*: the same in a cell of the model's own, corrected to two periodic directions
  (:mod:`.slab`).
- *open*: direct sum over all pairs (:mod:`.real_space`).

A batch may mix them. Structures that are alike go through one call, without a loop.
"""

from typing import Final, Optional

import torch
from torchpme import CoulombPotential
from torchpme.prefactors import eV_A

from mace_smile.physics.boundaries import SMALLEST_VOLUME
from mace_smile.physics.cells import cell_volumes
from mace_smile.physics.ewald import EwaldSum
from mace_smile.physics.mesh import MeshSum
from mace_smile.physics.parameters import INTERPOLATION_NODES, CoulombParameters
from mace_smile.physics.real_space import OpenSum, RealSpaceSum
from mace_smile.physics.slab import slab_cells, slab_correction

#: Coulomb constant 1 / (4 pi eps0) in eV A / e^2
COULOMB_CONSTANT = eV_A


class HalfSpaceCoulombPotential(CoulombPotential):
    """Part of model files of format 1, which are read by upgrading them."""


class Electrostatics(torch.nn.Module):
    """Potential of charges at the atoms of a batch of structures.

    :param parameters: from :func:`~mace_smile.physics.parameters.choose_parameters`.
    """

    # Numbers of :meth:`kinds`: negative ones are open, those from here on are meshes.
    FIRST_MESH: Final[int] = 1048576

    def __init__(self, parameters: CoulombParameters) -> None:
        super().__init__()
        self.coulomb_constant = COULOMB_CONSTANT
        self.smallest_volume = SMALLEST_VOLUME
        self.slab_vacuum = parameters.slab_vacuum
        self.least_slab_vacuum = 10.0 * parameters.smearing
        self.is_full = parameters.terms == "full"
        limits = {"ewald": 2**62, "auto": parameters.ewald_atoms}
        self.ewald_atoms: int = limits.get(parameters.method, 0)
        self.potential = CoulombPotential(parameters.smearing, prefactor=COULOMB_CONSTANT)
        self.ewald = EwaldSum(self.potential, parameters.lr_wavelength)
        mesh = parameters.mesh_method
        self.mesh = MeshSum(
            self.potential, mesh, parameters.mesh_spacing, INTERPOLATION_NODES[mesh]
        )
        self.open_sum = OpenSum(self.potential, not self.is_full)
        self.real_space = RealSpaceSum(self.potential, parameters.cutoff)
        self.to(dtype=torch.get_default_dtype())

    def forward(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        cells: torch.Tensor,
        periodic: torch.Tensor,
        batch: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        targets: Optional[torch.Tensor] = None,
        dipoles: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Potential at the atoms, so that the energy is half the sum of charge times potential.

        :param charges: shape ``(n_atoms, n_channels)``, in e; each channel for itself.
        :param positions: shape ``(n_atoms, 3)``, in A. Along the normal of a slab they must
            be whole, not cut by the cell boundary; along periodic axes any image serves.
        :param cells: shape ``(n_graphs, 3, 3)``, in A, lattice vectors in rows. Rows of axes
            that are not periodic are not used.
        :param periodic: shape ``(n_graphs, 3)``, bool.
        :param batch: structure of each atom, ascending, shape ``(n_atoms,)``.
        :param edge_index: sender and receiver of the pairs within the cutoff, in both
            directions, shape ``(2, n_edges)``; used with ``full`` terms alone.
        :param edge_vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :param targets: where the potential of the other atoms is wanted, a place for each
            atom, shape ``(n_atoms, 3)``, in A; None: at the atoms. The electric field at the
            atoms is minus the gradient of the summed potential by the targets.
        :param dipoles: of the atoms beside the charges of the first channel, shape
            ``(n_atoms, 3)``, in e A; not together with ``targets``.
        :return: potential, shape ``(n_atoms, n_channels)``, in V. With dipoles
            ``(n_atoms, n_channels + 3)``: the last three are the gradient of the first potential,
            in V/A, and half its product with the dipoles belongs to the energy.
        :raises ValueError: with one periodic axis, which no method here covers, and for a
            periodic cell without volume.
        """
        n_periodic = periodic.to(torch.int64).sum(dim=1)
        if bool((n_periodic == 1).any()):
            raise ValueError(
                "a structure that is periodic along one axis only has no electrostatics here; "
                "make it periodic along none, two or three axes"
            )
        is_open = n_periodic == 0
        assert targets is None or dipoles is None
        n_columns = charges.shape[1] + (0 if dipoles is None else 3)
        potential = torch.zeros(
            (charges.shape[0], n_columns), dtype=charges.dtype, device=charges.device
        )
        if bool((n_periodic == 2).any()):
            cells, atoms, term = self.slab_terms(
                charges, positions, cells, periodic, batch, n_periodic == 2, targets, dipoles
            )
            potential = potential.index_add(0, atoms, term)
        volumes = cell_volumes(cells.detach())
        boxes = torch.linalg.norm(cells.detach(), dim=-1).prod(dim=-1)
        # rounding leaves parallel vectors a volume; that of NaN cells is no number
        if bool((~(volumes > self.smallest_volume * boxes) & ~is_open).any()):
            raise ValueError(
                "a periodic structure has cell vectors that span no volume; give three "
                "independent cell vectors, or set pbc to False"
            )
        # Structures of one kind go through one call.
        kinds = self.kinds(cells, is_open, batch)
        present = torch.unique(kinds)
        for number in range(present.shape[0]):
            kind = int(present[number])
            chosen = kinds == kind
            atoms = torch.nonzero(chosen[batch]).flatten()
            members = (torch.cumsum(chosen.to(torch.int64), dim=0) - 1)[batch[atoms]]
            part = self.smooth_potential(
                kind,
                charges[atoms],
                positions[atoms],
                None if targets is None else targets[atoms],
                cells[torch.nonzero(chosen).flatten()],
                members,
                None if dipoles is None else dipoles[atoms],
            )
            potential = potential.index_add(0, atoms, part)
        if self.is_full and edge_index.shape[1] > 0:
            edges = torch.nonzero(~is_open[batch[edge_index[1]]]).flatten()
            vectors = edge_vectors[edges]
            if targets is not None:
                vectors = vectors + (targets - positions)[edge_index[1, edges]]
            potential = potential + self.real_space(charges, edge_index[:, edges], vectors, dipoles)
        return potential

    def kinds(
        self, cells: torch.Tensor, is_open: torch.Tensor, batch: torch.Tensor
    ) -> torch.Tensor:
        """How each sum is done: a number that is equal for structures that share a call.

        Structures of a call are filled up to the largest, so those of one call are alike: within
        a factor of two in the number of atoms, and of waves along each axis (Ewald), or with
        meshes of one size.

        :param is_open: shape ``(n_graphs,)``, bool; the others as in :meth:`forward`.
        :return: shape ``(n_graphs,)``, int64.
        """
        n_atoms = torch.bincount(batch, minlength=cells.shape[0])
        atoms = torch.floor(torch.log2(n_atoms.clamp(min=1).to(torch.float64))).to(torch.int64)
        waves = torch.floor(torch.log2(self.ewald.limits(cells) + 1.0)).to(torch.int64)
        waves = waves.clamp(max=15)  # (n_graphs, 3)
        ewald = ((atoms * 16 + waves[:, 0]) * 16 + waves[:, 1]) * 16 + waves[:, 2]
        kinds = torch.where(n_atoms <= self.ewald_atoms, ewald, self.mesh.mesh_numbers(cells))
        return torch.where(is_open, -1 - atoms, kinds)

    def slab_terms(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        cells: torch.Tensor,
        periodic: torch.Tensor,
        batch: torch.Tensor,
        is_slab: torch.Tensor,
        targets: Optional[torch.Tensor],
        dipoles: Optional[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cells with those of slabs replaced by own ones, and the correction of the potential.

        :param is_slab: shape ``(n_graphs,)``, bool; the others as in :meth:`forward`.
        :return: cells, shape ``(n_graphs, 3, 3)``, in A; numbers of the atoms of slabs; and the
            correction of what :meth:`forward` returns for these atoms.
        """
        graphs = torch.nonzero(is_slab).flatten()
        atoms = torch.nonzero(is_slab[batch]).flatten()
        members = (torch.cumsum(is_slab.to(torch.int64), dim=0) - 1)[batch[atoms]]
        own, normals, middles = slab_cells(
            cells[graphs],
            periodic[graphs],
            positions[atoms],
            members,
            self.slab_vacuum,
            self.least_slab_vacuum,
        )
        term = slab_correction(
            charges[atoms],
            positions[atoms] if targets is None else targets[atoms],
            positions[atoms],
            own,
            normals,
            middles,
            members,
            self.coulomb_constant,
            None if dipoles is None else dipoles[atoms],
        )
        return cells.index_copy(0, graphs, own), atoms, term

    def smooth_potential(
        self,
        kind: int,
        charges: torch.Tensor,
        positions: torch.Tensor,
        targets: Optional[torch.Tensor],
        cells: torch.Tensor,
        batch: torch.Tensor,
        dipoles: Optional[torch.Tensor],
    ) -> torch.Tensor:
        """What has no cutoff, for structures of one kind; arguments as :meth:`forward`."""
        n_graphs = cells.shape[0]
        n_atoms = torch.bincount(batch, minlength=n_graphs)
        size = int(n_atoms.max())
        starts = torch.cumsum(n_atoms, dim=0) - n_atoms
        places = torch.arange(batch.shape[0], device=batch.device) - starts[batch]
        slots = batch * size + places
        if kind < 0:
            return self.open_sum(charges, positions, targets, n_graphs, slots, size, dipoles)
        volumes = cell_volumes(cells)
        if kind < self.FIRST_MESH:
            potential = self.ewald(
                charges, positions, targets, cells, volumes, slots, size, dipoles
            )
        else:
            potential = self.mesh(charges, positions, targets, cells, volumes, batch, dipoles)
        total = torch.zeros(
            (n_graphs, charges.shape[1]), dtype=charges.dtype, device=charges.device
        ).index_add(0, batch, charges)
        background = 2.0 * self.potential.background_correction() * total / volumes.unsqueeze(-1)
        own = charges * self.potential.self_contribution() + background[batch]
        if dipoles is not None:
            slope = self.potential.self_contribution() / (3.0 * self.potential.smearing**2)
            own = torch.cat([own, dipoles * slope], dim=1)
        return potential - own
