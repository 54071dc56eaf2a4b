"""Ionic conductivity out of currents: by Green and Kubo without a field, by Ohm in one.

The current of a cell is what moves its dipole,

.. math::

    J_a = \\sum_{ib} Z_{iab}\\, v_{ib} = \\frac{d\\mu_a}{dt}, \\qquad
    \\sigma = \\frac{1}{3 V k_B T} \\int_0^\\infty \\langle J(0) \\cdot J(t) \\rangle\\, dt, \\qquad
    \\langle J \\rangle = \\sigma V E,

with Born effective charges Z, or with whole oxidation numbers times the unit matrix, which give
another current and the same conductivity (F. Grasselli and S. Baroni, Nature Physics 15, 967
(2019), doi 10.1038/s41567-019-0562-0). Charges of the energy give neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from scipy import constants

from mace_smile.analysis.averages import block_error
from mace_smile.errors import UserError

#: S/m in one e/(V A fs), the unit of a current of e A/fs by a volume in A^3 and a field in V/A.
SIEMENS_PER_METRE = constants.e / (constants.angstrom * constants.femto)
BLOCKS = 10


def ionic_current(born_effective_charges: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """The current of a cell.

    :param born_effective_charges: shape ``(..., n_atoms, 3, 3)``, in e, field index first.
    :param velocities: shape ``(..., n_atoms, 3)``, in A/fs.
    :return: shape ``(..., 3)``, in e A/fs.
    """
    current: np.ndarray = np.einsum("...iab,...ib->...a", born_effective_charges, velocities)
    return current


@dataclass(frozen=True)
class GreenKubo:
    """Conductivity out of the memory of the current."""

    times: np.ndarray
    """Evenly spaced, from zero to the cutoff, shape ``(n_times,)``, in fs."""
    correlation: np.ndarray
    """Mean of J(0) J(t) over the three axes, shape ``(n_times,)``, in e^2 A^2/fs^2."""
    running: np.ndarray
    """Conductivity if the integral ended at each time, shape ``(n_times,)``, in S/m."""
    running_error: np.ndarray
    """Its standard error, shape ``(n_times,)``, in S/m."""

    @property
    def conductivity(self) -> float:
        """In S/m; the last of ``running``."""
        return float(self.running[-1])

    @property
    def error(self) -> float:
        """Standard error in S/m."""
        return float(self.running_error[-1])


def green_kubo(
    currents: np.ndarray,
    time_step: float,
    volume: float,
    temperature: float,
    cutoff: float,
    n_blocks: int = BLOCKS,
) -> GreenKubo:
    """Conductivity of an isotropic system out of a run without a field.

    The error is that of the mean over blocks of the run and over the three axes. It knows nothing
    of a cutoff that is too short: see whether ``running`` has become flat.

    :param currents: shape ``(n_steps, 3)``, in e A/fs; the mean, zero without a field, is left in.
    :param time_step: between them, in fs.
    :param volume: in A^3.
    :param temperature: in K.
    :param cutoff: end of the integral, in fs.
    :param n_blocks: pieces of the run, each longer than the cutoff.
    :raises UserError: for blocks that are not longer than the cutoff.
    """
    n_times = round(cutoff / time_step) + 1
    block_length = len(currents) // n_blocks
    if n_times < 2 or block_length <= n_times:
        raise UserError(
            f"the cutoff is {cutoff:g} fs, but must be longer than the {time_step:g} fs between "
            f"currents and shorter than a block of {block_length * time_step:g} fs; take another, "
            "or a longer run"
        )
    blocks = currents[: n_blocks * block_length].reshape(n_blocks, block_length, 3)
    correlations = np.stack([_correlation(block, n_times) for block in blocks])
    # One estimate for each block and axis.
    by_block = correlations.transpose(0, 2, 1).reshape(-1, n_times)
    scale = SIEMENS_PER_METRE / (volume * units.kB * temperature)
    integrals = scale * _running_integral(by_block, time_step)
    correlation = _correlation(currents, n_times).mean(axis=1)
    return GreenKubo(
        times=time_step * np.arange(n_times),
        correlation=correlation,
        running=scale * _running_integral(correlation, time_step),
        running_error=integrals.std(axis=0, ddof=1) / np.sqrt(len(integrals)),
    )


def _correlation(currents: np.ndarray, n_times: int) -> np.ndarray:
    """Mean of J(0) J(t) for each axis, shape ``(n_times, 3)``, by Fourier transforms."""
    n_steps = len(currents)
    # Padded with as many zeros, so that the end does not meet the beginning.
    transform = np.fft.rfft(currents, 2 * n_steps, axis=0)
    sums = np.fft.irfft(np.abs(transform) ** 2, 2 * n_steps, axis=0)[:n_times]
    mean: np.ndarray = sums / (n_steps - np.arange(n_times))[:, None]
    return mean


def _running_integral(values: np.ndarray, step: float) -> np.ndarray:
    """Integral from zero to each time by the trapezoid rule, along the last axis."""
    slices = 0.5 * step * (values[..., 1:] + values[..., :-1])
    zero = np.zeros_like(values[..., :1])
    return np.concatenate([zero, np.cumsum(slices, axis=-1)], axis=-1)


@dataclass(frozen=True)
class OhmsLaw:
    """Conductivity out of the mean current in fields of several strengths."""

    fields: np.ndarray
    """Strengths along one axis, shape ``(n_fields,)``, in V/A."""
    currents: np.ndarray
    """Mean current along that axis, shape ``(n_fields,)``, in e A/fs."""
    current_errors: np.ndarray
    """Their standard errors, shape ``(n_fields,)``, in e A/fs."""
    conductivity: float
    """Slope of a straight line through zero by the volume, in S/m."""
    error: float
    """Its standard error, in S/m."""
    chi_squared: float
    """Squared deviations from the line in units of the errors, by the number of fields less
    one: far above 1 when the line is none. Not a number for a single field."""


def ohms_law(
    fields: Sequence[float],
    currents: Sequence[np.ndarray],
    volume: float,
    n_blocks: int = BLOCKS,
) -> OhmsLaw:
    """Fit a straight line through zero to mean currents, weighted by their errors.

    :param fields: strength of the macroscopic field in each run, not zero, in V/A.
    :param currents: of each run, along the field, shape ``(n_steps,)``, in e A/fs, from when the
        current has become steady.
    :param volume: in A^3.
    :param n_blocks: pieces of each run, whose means tell the error.
    :raises UserError: when there is no field, or one of zero.
    """
    strengths = np.asarray(fields, dtype=float)
    if len(strengths) == 0 or len(strengths) != len(currents) or np.any(strengths == 0):
        raise UserError(
            f"the fields are {list(fields)} for {len(currents)} runs, but each run must have its "
            "own, which is not zero"
        )
    means = np.array([float(np.mean(run)) for run in currents])
    errors = np.array([float(block_error(np.asarray(run), n_blocks)) for run in currents])
    weights = 1 / errors**2
    curvature = float(np.sum(weights * strengths**2))
    slope = float(np.sum(weights * strengths * means)) / curvature
    n_free = len(strengths) - 1
    deviations = float(np.sum(weights * (means - slope * strengths) ** 2))
    return OhmsLaw(
        fields=strengths,
        currents=means,
        current_errors=errors,
        conductivity=SIEMENS_PER_METRE * slope / volume,
        error=float(SIEMENS_PER_METRE / (np.sqrt(curvature) * volume)),
        chi_squared=deviations / n_free if n_free else float("nan"),
    )
