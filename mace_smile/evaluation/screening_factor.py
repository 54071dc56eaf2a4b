"""One factor between Born charges of a model and their labels, with its uncertainty.

Born charges are linear in the factor s, :math:`Z(s) = s A + B`, with B from what the factor does
not scale (atomic dipoles). With labels Y, over all components of all atoms,

.. math::

    s_{LS} = \\frac{\\sum A (Y - B)}{\\sum A^2}, \\qquad
    s_{LA} = \\mathrm{arg\\,min}_s \\sum |A|\\, \\left|\\frac{Y - B}{A} - s\\right|,

the second of which is the median of (Y - B) / A weighted with \\|A\\| (S3 and S4 fit such factors).
Uncertainties are those of the choice of frames: frames, or groups of them that stay together, are
drawn anew, with replacement.
"""

import math
from dataclasses import dataclass

import numpy as np

from mace_smile.errors import UserError
from mace_smile.frozen.statistics import Estimate

LEAST_SQUARES = "least_squares"
LEAST_ABSOLUTE = "least_absolute"
FITS = (LEAST_SQUARES, LEAST_ABSOLUTE)
#: Frames, or groups of them, below which there is no uncertainty.
FEWEST_GROUPS = 2


@dataclass(frozen=True)
class Components:
    """Components of Born charges that share one factor."""

    slopes: np.ndarray
    """A: Born charges for the factor 1 that scale with it, shape ``(n,)``, in e."""
    targets: np.ndarray
    """Y - B: labels less what does not scale, shape ``(n,)``, in e."""
    frames: np.ndarray
    """Number of the frame of each component, shape ``(n,)``."""
    groups: np.ndarray | None = None
    """Number of the group of frames that each component is drawn with, shape ``(n,)``; None: each
    frame alone."""

    @property
    def n_frames(self) -> int:
        """Number of frames that have components."""
        return len(np.unique(self.frames))

    def select(self, mask: np.ndarray) -> "Components":
        """Those where a mask of shape ``(n,)`` is True."""
        groups = None if self.groups is None else self.groups[mask]
        return Components(self.slopes[mask], self.targets[mask], self.frames[mask], groups)

    def errors(self, factor: float) -> tuple[float, float]:
        """Mean absolute and root mean square error with a factor, in e."""
        difference = factor * self.slopes - self.targets
        return float(np.abs(difference).mean()), math.sqrt(float(np.mean(difference**2)))


def check_slopes(components: Components) -> None:
    """Refuse Born charges that no factor can scale.

    :raises UserError: where they are all zero, or not finite.
    """
    if not np.isfinite(components.slopes).all():
        raise UserError("the model gives Born charges that are not finite; look at its training")
    if not np.any(components.slopes):
        raise UserError(
            "the charges of the model are zero in all frames with Born charges, so no factor can "
            "scale them; train them on energies and forces with --electrostatics auto"
        )


def resample(n_groups: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each frame, or group of frames, is drawn, shape ``(n_resamples, n_groups)``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=n_resamples)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The middle of all numbers s that minimise ``sum(weights * |values - s|)``.

    :param values: in ascending order, shape ``(n,)``.
    :param weights: shape ``(n,)``, none negative, some positive.
    """
    sums = np.cumsum(weights)
    half = 0.5 * sums[-1]
    first = values[np.searchsorted(sums, half, side="left")]
    last = values[min(np.searchsorted(sums, half, side="right"), len(values) - 1)]
    return float(0.5 * (first + last))


def fit_factor(components: Components, fit: str, n_resamples: int, seed: int) -> Estimate:
    """The best factor, and its bootstrap distribution over frames, or groups of them.

    :param components: not all zero.
    :param fit: one of :data:`FITS`.
    :param n_resamples: of the groups; the uncertainty of fewer than two is nan.
    :param seed: of the resamples, which are the same for both fits.
    """
    drawn = components.frames if components.groups is None else components.groups
    _, groups = np.unique(drawn, return_inverse=True)
    n_groups = int(groups.max()) + 1
    counts = np.ones((1, n_groups))
    if n_groups >= FEWEST_GROUPS:
        counts = np.concatenate([counts, resample(n_groups, n_resamples, seed)])
    factors = _least_squares if fit == LEAST_SQUARES else _least_absolute
    value, *samples = factors(components, groups, counts)
    kept = np.array([sample for sample in samples if math.isfinite(sample)])
    if not len(kept):
        return Estimate(float(value), math.nan, math.nan, math.nan)
    return Estimate.of_samples(value, kept)


def _least_squares(components: Components, groups: np.ndarray, counts: np.ndarray) -> list[float]:
    """Factor for each row of numbers of draws, shape ``(n_rows, n_groups)``; nan: no slope."""
    products = np.bincount(groups, components.slopes * components.targets)
    squares = np.bincount(groups, components.slopes**2)
    numerators, denominators = counts @ products, counts @ squares
    return [
        float(n / d) if d > 0 else math.nan for n, d in zip(numerators, denominators, strict=True)
    ]


def _least_absolute(components: Components, groups: np.ndarray, counts: np.ndarray) -> list[float]:
    """The same for the weighted median, with one sort for all rows."""
    counted = components.slopes != 0  # others have the same error whatever the factor
    slopes, targets, groups = (
        components.slopes[counted],
        components.targets[counted],
        groups[counted],
    )
    ratios = targets / slopes
    order = np.argsort(ratios, kind="stable")
    ratios, weights, groups = ratios[order], np.abs(slopes[order]), groups[order]
    result = []
    for row in counts:
        drawn = weights * row[groups]
        result.append(weighted_median(ratios, drawn) if drawn.any() else math.nan)
    return result
