"""The susceptibility straight from the data: one geometry, several sets of given charges.

At a fixed geometry the learned part of the dipole is a constant, so

.. math::

    1 + \\chi = \\frac{\\Delta \\sum_{given} Q_i z_i}{\\Delta \\mu_z^{tot}}

without any model (S0 eq. 6). All such frames are taken together: deviations from the mean of
each geometry, weighted by their squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mace_smile import quantities
from mace_smile.frozen.frames import FrozenFrames
from mace_smile.frozen.groups import geometry_names
from mace_smile.physics.boundaries import model_axes
from mace_smile.physics.polarization import slab_normal
from mace_smile.training.losses import macro_dipole_errors


@dataclass(frozen=True)
class PairEstimate:
    """Susceptibility from frames of equal geometry."""

    susceptibility: float
    """chi of the cell."""
    error: float
    """Its standard error, by bootstrap over groups."""
    n_geometries: int
    """Number of geometries with different given charges."""
    nonlinearity: float
    """Root mean square deviation of the dipoles from one slope for all geometries, e A."""


def slab_dipoles(frames: FrozenFrames, boundary: str, slab_axis: int) -> dict[int, np.ndarray]:
    """Dipole along the normal of each slab where it is a label.

    :return: frame to (dipole label, dipole of the given charges), in e A.
    """
    dipoles = {}
    for number, batch in enumerate(frames.singles):
        axes = model_axes(batch.pbc.view(-1, 3), boundary, slab_axis)[0]
        if int(axes.sum()) != 2:
            continue
        normal = slab_normal(batch.cell.view(3, 3), int(torch.argmin(axes.to(torch.int64))))
        labels = batch[quantities.DIPOLE].view(1, 3)
        _, weights = macro_dipole_errors(batch, {quantities.MACRO_DIPOLE: labels})
        if not bool((weights[0][normal.abs() > 1e-6] > 0).all()):
            continue
        given = torch.zeros(3).to(labels)
        if quantities.GIVEN_CHARGES in batch:
            is_given = (batch[quantities.GIVEN_MASK].view(-1) != 0).to(labels)
            charges = is_given * batch[quantities.GIVEN_CHARGES].view(-1)
            given = charges @ batch.positions
        dipoles[number] = np.array([float(labels[0] @ normal), float(given @ normal)])
    return dipoles


def susceptibility_from_pairs(
    frames: FrozenFrames,
    dipoles: dict[int, np.ndarray],
    groups: Sequence[str],
    n_bootstrap: int,
    seed: int,
) -> PairEstimate | None:
    """Susceptibility from frames that differ in given charges only; None without such frames.

    :param dipoles: from :func:`slab_dipoles`.
    :param groups: of the frames, resampled as a whole.
    """
    geometries = geometry_names(frames.atoms)
    sums: dict[str, np.ndarray] = {}  # group -> [sum xx, sum xy, sum yy]
    n_geometries, n_free = 0, 0
    for name in dict.fromkeys(geometries):
        numbers = [n for n in dipoles if geometries[n] == name]
        values = np.array([dipoles[n] for n in numbers]).reshape(-1, 2)
        values = values - values.mean(axis=0) if len(values) else values
        if len(values) < 2 or np.abs(values[:, 1]).max() < 1e-9:
            continue
        n_geometries += 1
        n_free += len(values) - 1
        label, given = values.T
        moments = np.array([given @ given, given @ label, label @ label])
        group = groups[numbers[0]]
        sums[group] = sums.get(group, np.zeros(3)) + moments
    if n_geometries == 0:
        return None
    table = np.array(list(sums.values()))  # (n_groups, 3)
    total = table.sum(axis=0)
    slope = total[1] / total[0]  # d mu / d mu_given = 1 / (1 + chi)
    rest = max(float(total[2] - slope * total[1]), 0.0)
    counts = np.random.default_rng(seed).multinomial(
        len(table), np.full(len(table), 1.0 / len(table)), size=n_bootstrap
    )
    resampled = counts @ table
    return PairEstimate(
        susceptibility=float(1.0 / slope - 1.0),
        error=float(np.std(resampled[:, 0] / resampled[:, 1])) if len(table) > 1 else float("nan"),
        n_geometries=n_geometries,
        nonlinearity=float(np.sqrt(rest / max(n_free, 1))),
    )
