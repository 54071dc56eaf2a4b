"""Sums over pairs in real space: within a cutoff, and over all pairs of an open structure."""

from typing import Optional

import torch
from torchpme import CoulombPotential

from mace_smile.physics.dipoles import pair_terms, radial_derivatives
from mace_smile.physics.ewald import pad


class RealSpaceSum(torch.nn.Module):
    """Potential of 1 / r less its smooth part, from the pairs within a cutoff.

    A switching function takes the rest, below erfc(r_c / sqrt(2) sigma), to zero over the last
    tenth of the cutoff, twice continuously differentiable: energy and forces do not jump when
    a pair crosses it. The derivatives of the interaction that dipoles need are switched after
    they are taken.

    :param potential: torch-pme's potential.
    :param cutoff: r_c in A.
    """

    def __init__(self, potential: CoulombPotential, cutoff: float) -> None:
        super().__init__()
        self.potential = potential
        self.cutoff = cutoff

    def forward(
        self,
        charges: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        dipoles: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Potential at the receivers.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param edge_index: sender and receiver of each edge, each pair in both directions,
            shape ``(2, n_edges)``.
        :param edge_vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :param dipoles: beside the charges of the first channel, shape ``(n_atoms, 3)``, in e A.
        :return: shape ``(n_atoms, n_channels)``, in V; with dipoles ``(n_atoms, n_channels + 3)``,
            the last three the gradient of the first potential, in V/A.
        """
        distances = torch.linalg.norm(edge_vectors, dim=-1)
        x = torch.clamp(10.0 * (distances / self.cutoff - 0.9), min=0.0, max=1.0)
        switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
        interaction = self.potential.sr_from_dist(distances)
        sent = charges[edge_index[0]]
        received = (interaction * switch).unsqueeze(-1) * sent
        if dipoles is not None:
            first, second = radial_derivatives(
                interaction,
                distances,
                self.potential.self_contribution(),
                self.potential.smearing,
            )
            potential, gradient = pair_terms(
                dipoles[edge_index[0]], sent[:, 0], edge_vectors, first * switch, second * switch
            )
            first_channel = received[:, :1] + potential.unsqueeze(-1)
            received = torch.cat([first_channel, received[:, 1:], gradient], dim=1)
        zeros = torch.zeros(
            (charges.shape[0], received.shape[1]), dtype=charges.dtype, device=charges.device
        )
        return zeros.index_add(0, edge_index[1], received)


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
        dipoles: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Potential of all other charges.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param positions: shape ``(n_atoms, 3)``, in A.
        :param targets: where the potential is wanted, shape ``(n_atoms, 3)``, in A; None: at the
            positions.
        :param slots: structure of each atom times ``size`` plus its number in the structure.
        :param size: atoms of the largest structure.
        :param dipoles: beside the charges of the first channel, shape ``(n_atoms, 3)``, in e A.
        :return: shape ``(n_atoms, n_channels)``, in V; with dipoles ``(n_atoms, n_channels + 3)``,
            the last three the gradient of the first potential, in V/A.
        """
        sources = pad(positions, slots, n_graphs, size)
        wanted = sources
        if targets is not None:
            wanted = pad(targets, slots, n_graphs, size)
        present = pad(torch.ones_like(charges[:, :1]), slots, n_graphs, size) > 0  # (g, n, 1)
        is_pair = present & present.transpose(1, 2)
        is_pair = is_pair & ~torch.eye(size, dtype=torch.bool, device=charges.device)
        vectors = wanted.unsqueeze(2) - sources.unsqueeze(1)
        squares = vectors.square().sum(dim=-1)  # (g, n, n)
        distances = torch.sqrt(torch.where(is_pair, squares, torch.ones_like(squares)))
        if self.is_smooth:
            interaction = self.potential.lr_from_dist(distances)
        else:
            interaction = self.potential.from_dist(distances)
        padded = pad(charges, slots, n_graphs, size)
        potential = torch.matmul(torch.where(is_pair, interaction, 0.0), padded)
        if dipoles is not None:
            sign = -1.0 if self.is_smooth else 0.0
            first, second = radial_derivatives(
                interaction,
                distances,
                sign * self.potential.self_contribution(),
                self.potential.smearing,
            )
            terms, gradients = pair_terms(
                pad(dipoles, slots, n_graphs, size).unsqueeze(1),
                padded[:, :, 0].unsqueeze(1),
                vectors,
                torch.where(is_pair, first, 0.0),
                torch.where(is_pair, second, 0.0),
            )
            first_channel = potential[:, :, :1] + terms.sum(dim=2, keepdim=True)
            potential = torch.cat([first_channel, potential[:, :, 1:], gradients.sum(dim=2)], dim=2)
        return potential.flatten(0, 1)[slots]
