"""Particle-mesh sums (PME and P3M) over the structures of a batch.

Charges are spread on a mesh, the mesh is multiplied with the kernel in reciprocal space, and
the potential is read at the atoms with the same weights. Weights and kernel are torch-pme's.
The rest is put together here, for three reasons: structures share one transform; the number
of mesh points follows the wanted spacing instead of the next power of two; and the P3M
influence function holds in any cell (torch-pme 0.5 takes it from Cartesian components, which
is right in orthorhombic cells along x, y and z alone).

Dipoles, in units of the cell vectors, are spread on three meshes of their own with the weights of
charges, and joined with the charges in reciprocal space; the gradient of the potential is read
from three more meshes. So no derivative of a weight is needed.
"""

import itertools
from typing import List, Optional

import torch
from torchpme import CoulombPotential
from torchpme.lib import MeshInterpolator

from mace_smile.physics.dipoles import join_dipoles


def fast_sizes(largest: int) -> list[int]:
    """Even numbers from 8 without a prime factor above 5: their Fourier transforms are fast."""
    products = (
        2**i * 3**j * 5**k
        for i, j, k in itertools.product(range(1, 32), range(20), range(14))
        if 8 <= 2**i * 3**j * 5**k <= largest
    )
    return sorted(products)


def relative_positions(
    positions: torch.Tensor, inverse_cells: torch.Tensor, batch: torch.Tensor
) -> torch.Tensor:
    """Positions in units of the cell vectors, between 0 and 1, ``(n_atoms, 3)``.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param inverse_cells: shape ``(n_graphs, 3, 3)``, in 1/A.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    """
    if inverse_cells.shape[0] == 1:
        relative = positions @ inverse_cells[0]
    else:
        relative = torch.bmm(positions.unsqueeze(1), inverse_cells[batch]).squeeze(1)
    return relative - torch.floor(relative).detach()  # float32 keeps its digits


class MeshSum(torch.nn.Module):
    """Periodic potential of Gaussian-smeared charges and dipoles, by fast Fourier transforms.

    :param potential: torch-pme's potential, for its kernel.
    :param method: ``pme`` (Lagrange interpolation; Essmann et al. 1995, 10.1063/1.470043) or
        ``p3m`` (B-splines and their influence function; Deserno and Holm 1998,
        10.1063/1.477414).
    :param mesh_spacing: largest distance of neighbouring mesh points along a cell vector in A.
    :param nodes: mesh points of the interpolation along each axis, an odd number.
    """

    sizes: torch.Tensor

    def __init__(
        self, potential: CoulombPotential, method: str, mesh_spacing: float, nodes: int
    ) -> None:
        super().__init__()
        self.potential = potential
        self.has_influence = method == "p3m"
        self.mesh_spacing = mesh_spacing
        self.nodes = nodes
        self.largest = 8192
        sizes = torch.tensor(fast_sizes(self.largest), dtype=torch.get_default_dtype())
        self.register_buffer("sizes", sizes, persistent=False)
        self.interpolator = MeshInterpolator(
            torch.eye(3),
            torch.ones(3, dtype=torch.long),
            nodes,
            "P3M" if method == "p3m" else "Lagrange",
        )

    def forward(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        targets: Optional[torch.Tensor],
        cells: torch.Tensor,
        volumes: torch.Tensor,
        batch: torch.Tensor,
        dipoles: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Potential of all charges and images, an atom's own smeared charge included.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param positions: shape ``(n_atoms, 3)``, in A; any image serves.
        :param targets: where the potential is wanted, shape ``(n_atoms, 3)``, in A; None: at the
            positions.
        :param cells: shape ``(n_graphs, 3, 3)``, in A, lattice vectors in rows; those of one call
            have meshes of one size.
        :param volumes: shape ``(n_graphs,)``, in A^3, positive.
        :param batch: structure of each atom, shape ``(n_atoms,)``.
        :param dipoles: beside the charges of the first channel, shape ``(n_atoms, 3)``, in e A.
        :return: shape ``(n_atoms, n_channels)``, in V; with dipoles ``(n_atoms, n_channels + 3)``,
            the last three the gradient of the first potential, in V/A.
        """
        n_graphs = cells.shape[0]
        self.check_sizes(cells)
        numbers = self.mesh_sizes(cells[:1])[0]
        sizes = [int(numbers[0]), int(numbers[1]), int(numbers[2])]
        inverse_cells = torch.linalg.inv(cells)
        if dipoles is not None:
            own = torch.bmm(dipoles.unsqueeze(1), inverse_cells[batch]).squeeze(1)
            charges = torch.cat([charges, own], dim=1)
        n_channels = charges.shape[1]
        # Neighbours in the mesh come one after another: large meshes do not fit into a cache.
        relative = relative_positions(positions, inverse_cells, batch)
        order = self.mesh_order(relative, batch, sizes)
        charges, relative, batch = charges[order], relative[order], batch[order]
        points, columns, rows = self.interpolation(relative, batch, sizes)
        spread = (columns * charges.t().unsqueeze(1)).unsqueeze(2) * rows  # (c, nodes^2, nodes, n)
        n_points = n_graphs * sizes[0] * sizes[1] * sizes[2]
        mesh = torch.zeros((n_channels, n_points), dtype=charges.dtype, device=charges.device)
        mesh.index_add_(1, points, spread.flatten(1))

        mesh = mesh.view(n_channels, n_graphs, sizes[0], sizes[1], sizes[2])
        kernel = self.kernel(inverse_cells, volumes, sizes)
        # Neither transform divides by the number of points. The product is one of real numbers:
        # TorchScript's own derivatives of complex products lack the conjugate.
        spectrum = torch.view_as_real(torch.fft.rfftn(mesh, dim=[2, 3, 4], norm="backward"))
        if dipoles is not None:
            real, imaginary = join_dipoles(
                spectrum[:, :, :, :, :, 0],
                spectrum[:, :, :, :, :, 1],
                -self.waves(sizes, charges).unsqueeze(1),  # of exp(-i k r), as torch transforms
                0,
            )
            spectrum = torch.stack([real, imaginary], dim=-1)
        filtered = torch.view_as_complex(spectrum * kernel.unsqueeze(-1))
        mesh = torch.fft.irfftn(filtered, s=sizes, dim=[2, 3, 4], norm="forward").flatten(1)

        if targets is not None:
            relative = relative_positions(targets[order], inverse_cells, batch)
            points, columns, rows = self.interpolation(relative, batch, sizes)
        values = mesh.index_select(1, points).view(spread.shape)
        potential = ((values * rows).sum(dim=2) * columns).sum(dim=1).t()
        if dipoles is not None:
            own = inverse_cells[batch].transpose(1, 2)
            gradient = torch.bmm(potential[:, -3:].unsqueeze(1), own).squeeze(1)
            potential = torch.cat([potential[:, :-3], gradient], dim=1)
        return torch.zeros_like(potential).index_copy(0, order, potential)

    def mesh_sizes(self, cells: torch.Tensor) -> torch.Tensor:
        """Mesh points along the cell vectors of each structure, ``(n_graphs, 3)``."""
        lengths = torch.linalg.norm(cells.detach(), dim=-1)
        places = torch.searchsorted(self.sizes, lengths / self.mesh_spacing)
        return self.sizes[places.clamp(max=self.sizes.numel() - 1)].to(torch.long)

    def check_sizes(self, cells: torch.Tensor) -> None:
        """Refuse cells whose mesh would be larger than any this package builds.

        :raises ValueError: with the length, the spacing and the remedy.
        """
        longest = float(torch.linalg.norm(cells.detach(), dim=-1).max())
        if longest > self.largest * self.mesh_spacing:
            raise ValueError(
                f"a cell vector is {longest} A long, which is more than {self.largest} times the "
                f"mesh spacing of {self.mesh_spacing} A; use a larger mesh_spacing or smearing"
            )

    def mesh_numbers(self, cells: torch.Tensor) -> torch.Tensor:
        """A number above 1 for each structure, equal for meshes of equal size, ``(n_graphs,)``."""
        sizes = self.mesh_sizes(cells)
        return (sizes[:, 0] * self.largest + sizes[:, 1]) * self.largest + sizes[:, 2]

    def mesh_order(
        self, relative: torch.Tensor, batch: torch.Tensor, sizes: List[int]
    ) -> torch.Tensor:
        """Order of the atoms along the mesh, ``(n_atoms,)``.

        :param relative: from :func:`relative_positions`.
        """
        numbers = torch.tensor(sizes, device=relative.device)
        nearest = torch.floor(relative.detach() * numbers).to(torch.long)
        places = ((batch * sizes[0] + nearest[:, 0]) * sizes[1] + nearest[:, 1]) * sizes[2]
        return torch.argsort(places + nearest[:, 2])

    def interpolation(
        self, relative: torch.Tensor, batch: torch.Tensor, sizes: List[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mesh points near each atom, and the two factors of their weights.

        :param relative: from :func:`relative_positions`.
        :return: points, shape ``(nodes^3 n_atoms,)``; weights along the first two axes, shape
            ``(nodes^2, n_atoms)``, and along the third, ``(nodes, n_atoms)``.
        """
        numbers = torch.tensor(sizes, device=relative.device)
        coordinates = relative * numbers
        nearest = torch.floor(coordinates.detach() + 0.5)
        weights = self.interpolator._compute_1d_weights(coordinates - nearest)
        around = torch.arange(self.nodes, device=relative.device) - self.nodes // 2
        indices = (nearest.to(torch.long) + around[:, None, None]) % numbers  # (nodes, n, 3)
        # Few operations on all points of all atoms: memory is what takes time.
        starts = batch * sizes[0] + indices[:, None, :, 0]
        starts = (starts * sizes[1] + indices[None, :, :, 1]) * sizes[2]
        points = starts.unsqueeze(2) + indices[:, :, 2]
        columns = weights[:, None, :, 0] * weights[None, :, :, 1]
        return points.flatten(), columns.flatten(0, 1), weights[:, :, 2]

    def waves(self, sizes: List[int], like: torch.Tensor) -> torch.Tensor:
        """2 pi times the whole numbers of the transformed meshes, ``(3, k_1, k_2, k_3)``.

        Zero for the largest, which stands for itself and its opposite, and so has no direction.
        """
        numbers: List[torch.Tensor] = []
        for axis, size in enumerate(sizes):
            frequencies = torch.fft.fftfreq(size, dtype=like.dtype, device=like.device)
            frequencies[size // 2] = 0.0
            if axis == 2:
                frequencies = frequencies[: size // 2 + 1]
            numbers.append(2.0 * torch.pi * size * frequencies)
        return torch.stack(torch.meshgrid(numbers, indexing="ij"))

    def kernel(
        self, inverse_cells: torch.Tensor, volumes: torch.Tensor, sizes: List[int]
    ) -> torch.Tensor:
        """Kernel on the transformed meshes by the volume, with P3M the influence function too.

        :return: shape ``(n_graphs, k_1, k_2, k_3)``, in V / e.
        """
        dtype, device = inverse_cells.dtype, inverse_cells.device
        x = torch.fft.fftfreq(sizes[0], dtype=dtype, device=device)
        y = torch.fft.fftfreq(sizes[1], dtype=dtype, device=device)
        z = torch.fft.rfftfreq(sizes[2], dtype=dtype, device=device)
        reciprocal = 2.0 * torch.pi * inverse_cells.transpose(1, 2)  # rows b_a
        metric = torch.matmul(reciprocal, reciprocal.transpose(1, 2))[:, :, :, None, None]
        a, b, c = (x * sizes[0])[:, None], y * sizes[1], z * sizes[2]
        # Few operations on the whole mesh, too.
        constant = metric[:, 0, 0] * a**2 + 2.0 * metric[:, 0, 1] * a * b + metric[:, 1, 1] * b**2
        linear = 2.0 * (metric[:, 0, 2] * a + metric[:, 1, 2] * b)  # (n_graphs, k_1, k_2)
        quadratic = metric[:, 2, 2].unsqueeze(-1) * c
        k_sq = constant.unsqueeze(-1) + (linear.unsqueeze(-1) + quadratic) * c
        columns = 1.0 / volumes[:, None, None]
        kernel = self.potential.lr_from_k_sq(k_sq)
        if self.has_influence:
            power = -2 * self.nodes  # of spreading and reading
            columns = columns * (torch.sinc(x)[:, None] ** power * torch.sinc(y) ** power)
            kernel = kernel * torch.sinc(z) ** power
        return kernel * columns.unsqueeze(-1)
