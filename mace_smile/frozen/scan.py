"""The scan over the susceptibility: which chi predicts dipoles of unseen frames best.

The observed dipole of a slab is mu / (1 + chi) with given charges at their bare value, so a wrong
chi cannot be mended by other charges (S0 fig. 3d). Uncertainties come from resampling the groups
of frames (MD runs), with the cross-validated errors of each frame as they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mace_smile.frozen.cross_validation import FIXED_CHARGES, SMILE, CrossValidation
from mace_smile.frozen.pairs import PairEstimate
from mace_smile.frozen.statistics import Estimate, GroupedErrors, parabola_minimum


@dataclass(frozen=True)
class ScanResult:
    """What a scan found; errors in e A on the observed scale."""

    susceptibilities: list[float]
    """Values of chi, in order."""
    rmse: list[float]
    """Cross-validated error of the macro dipole for each."""
    rmse_error: list[float]
    """Its standard error, by bootstrap."""
    fixed_rmse: list[float]
    """The same for one fixed charge an element."""
    minimum: Estimate
    """chi at the minimum."""
    is_at_end: bool
    """Whether the lowest point is the first or last of the list."""
    best: float
    """The minimum, rounded; the model is trained with it."""
    best_rmse: Estimate
    """Error at ``best``."""
    smile0_rmse: Estimate
    """Error at chi = 0."""
    smile0_ratio: Estimate
    """Error at chi = 0 by that at ``best``."""
    best_fixed: float
    """chi at which fixed charges do best."""
    best_fixed_rmse: Estimate
    """Error of fixed charges there."""
    fixed_difference: Estimate
    """Error at ``best`` less that of the best fixed charges, paired."""
    fixed_ratio: Estimate
    """The one by the other, paired."""
    pairs: PairEstimate | None
    """chi straight from frames of equal geometry, if there are any."""
    n_frames: int
    """Number of frames with errors."""
    n_groups: int
    """Number of groups that were resampled."""
    n_folds: int
    """Number of folds."""

    def as_dictionary(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def analyse(
    validation: CrossValidation,
    susceptibilities: Sequence[float],
    groups: Sequence[str],
    pairs: PairEstimate | None,
    n_bootstrap: int,
    seed: int,
) -> ScanResult:
    """Minimum, errors and comparisons from finished results.

    One more value of chi is run: the minimum itself.

    :param susceptibilities: that have been run, in order, with 0 among them.
    :param groups: of the frames.
    """
    chi = list(susceptibilities)

    def grouped(name: str, values: Sequence[float]) -> GroupedErrors:
        errors = [validation.errors(name, value) for value in values]
        return GroupedErrors(errors, groups, n_bootstrap, seed)

    curve, fixed = grouped(SMILE, chi), grouped(FIXED_CHARGES, chi)
    samples = curve.resampled_mean_squares()  # (n_bootstrap, n_chi)
    minimum = Estimate.of_samples(
        float(parabola_minimum(chi, curve.mean_squares())), parabola_minimum(chi, samples)
    )
    best = round(minimum.value, 3)
    validation.run([best])
    of_best = grouped(SMILE, [best])
    best_square = of_best.mean_squares()[0]
    best_samples = of_best.resampled_mean_squares()[:, 0]

    zero = chi.index(0.0)
    squares, fixed_squares = curve.mean_squares(), fixed.mean_squares()
    lowest_fixed = int(np.argmin(fixed_squares))
    # The best chi of the fixed charges is chosen anew in each resample: the comparison is with
    # the best such model.
    fixed_samples = fixed.resampled_mean_squares().min(axis=1)
    fixed_best = fixed_squares[lowest_fixed]
    lowest = int(np.argmin(squares))
    return ScanResult(
        susceptibilities=chi,
        rmse=np.sqrt(squares).tolist(),
        rmse_error=np.sqrt(samples).std(axis=0).tolist(),
        fixed_rmse=np.sqrt(fixed_squares).tolist(),
        minimum=minimum,
        is_at_end=lowest in (0, len(chi) - 1),
        best=best,
        best_rmse=Estimate.of_samples(np.sqrt(best_square), np.sqrt(best_samples)),
        smile0_rmse=Estimate.of_samples(np.sqrt(squares[zero]), np.sqrt(samples[:, zero])),
        smile0_ratio=Estimate.of_samples(
            np.sqrt(squares[zero] / best_square), np.sqrt(samples[:, zero] / best_samples)
        ),
        best_fixed=chi[lowest_fixed],
        best_fixed_rmse=Estimate.of_samples(np.sqrt(fixed_best), np.sqrt(fixed_samples)),
        fixed_difference=Estimate.of_samples(
            np.sqrt(best_square) - np.sqrt(fixed_best),
            np.sqrt(best_samples) - np.sqrt(fixed_samples),
        ),
        fixed_ratio=Estimate.of_samples(
            np.sqrt(best_square / fixed_best), np.sqrt(best_samples / fixed_samples)
        ),
        pairs=pairs,
        n_frames=len({frame for frame, _, _ in validation.errors(SMILE, best)}),
        n_groups=curve.squares.shape[1],
        n_folds=len(set(validation.folds)),
    )
