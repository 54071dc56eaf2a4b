"""Sums over pairs in real space: within a cutoff, and over all pairs of an open structure."""

from typing import Optional

import torch
from torchpme import CoulombPotential

from mace_smile.physics.ewald import pad


class RealSpaceSum(torch.nn.Module):
    """Potential of 1 / r less its smooth part, from the pairs within a cutoff.

    A switching function takes the rest, below erfc(r_c / sqrt(2) sigma), to zero over the last
    tenth of the cutoff, twice continuously differentiable: energy and forces do not jump when
    a pair crosses it.

    :param potential: torch-pme's potential.
    :param cutoff: r_c in A.
    """

    def __init__(self, potential: CoulombPotential, cutoff: float) -> None:
        super().__init__()
        self.potential = potential
        self.cutoff = cutoff

    def forward(
        self, charges: torch.Tensor, edge_index: torch.Tensor, edge_vectors: torch.Tensor
    ) -> torch.Tensor:
        """Potential at the receivers.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param edge_index: sender and receiver of each edge, each pair in both directions,
            shape ``(2, n_edges)``.
        :param edge_vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :return: shape ``(n_atoms, n_channels)``, in V.
        """
        distances = torch.linalg.norm(edge_vectors, dim=-1)
        x = torch.clamp(10.0 * (distances / self.cutoff - 0.9), min=0.0, max=1.0)
        switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
        interaction = self.potential.sr_from_dist(distances) * switch
        received = interaction.unsqueeze(-1) * charges[edge_index[0]]
        return torch.zeros_like(charges).index_add(0, edge_index[1], received)


class OpenSum(torch.nn.Module):
    """Potential in open structures: the sum over all other atoms, all structures at once.

    Memory grows as the square of the largest structure.

    :param potential: torch-pme's potential.
    :param is_smooth: erf(r / sqrt(2) sigma) / r instead of 1 / r.
    """

    def __init__(self, potential: CoulombPotential, is_smooth: bool) -> None:
        super().__init__()
        self.potential = potential
        self.is_smooth = is_smooth

    def forward(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        targets: Optional[torch.Tensor],
        n_graphs: int,
        slots: torch.Tensor,
        size: int,
    ) -> torch.Tensor:
        """Potential of all other charges.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param positions: shape ``(n_atoms, 3)``, in A.
        :param targets: where the potential is wanted, shape ``(n_atoms, 3)``, in A; None: at the
            positions.
        :param slots: structure of each atom times ``size`` plus its number in the structure.
        :param size: atoms of the largest structure.
        :return: shape ``(n_atoms, n_channels)``, in V.
        """
        sources = pad(positions, slots, n_graphs, size)
        wanted = sources
        if targets is not None:
            wanted = pad(targets, slots, n_graphs, size)
        present = pad(torch.ones_like(charges[:, :1]), slots, n_graphs, size) > 0  # (g, n, 1)
        is_pair = present & present.transpose(1, 2)
        is_pair = is_pair & ~torch.eye(size, dtype=torch.bool, device=charges.device)
        squares = (wanted.unsqueeze(2) - sources.unsqueeze(1)).square().sum(dim=-1)  # (g, n, n)
        distances = torch.sqrt(torch.where(is_pair, squares, torch.ones_like(squares)))
        if self.is_smooth:
            interaction = self.potential.lr_from_dist(distances)
        else:
            interaction = self.potential.from_dist(distances)
        interaction = torch.where(is_pair, interaction, torch.zeros_like(interaction))
        potential = torch.matmul(interaction, pad(charges, slots, n_graphs, size))
        return potential.flatten(0, 1)[slots]
