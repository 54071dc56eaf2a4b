"""The minimum of a curve of errors, and uncertainties by resampling groups of frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Lowest points that the parabola goes through, as far as there are as many around the minimum.
PARABOLA_POINTS = 5


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap distribution over groups."""

    value: float
    """From all groups."""
    error: float
    """Standard deviation over the resamples."""
    low: float
    """16 % quantile of the resamples."""
    high: float
    """84 % quantile of the resamples."""

    @classmethod
    def of_samples(cls, value: float, samples: np.ndarray) -> "Estimate":
        """From the value of all groups and those of the resamples."""
        low, high = np.quantile(samples, (0.16, 0.84))
        return cls(float(value), float(np.std(samples)), float(low), float(high))


def parabola_minimum(susceptibilities: Sequence[float], mean_squares: np.ndarray) -> np.ndarray:
    """Place of the minimum of curves of mean squared errors.

    Errors of a model that is linear in its parameters are a parabola in u = 1 / (1 + chi), since
    mu / (1 + chi) is; it is laid through the lowest points by least squares, and the minimum is
    never outside the list.

    :param susceptibilities: in order, shape ``(n_points,)``.
    :param mean_squares: shape ``(..., n_points)``.
    :return: chi at the minimum, shape ``(...)``.
    """
    chi = np.asarray(susceptibilities, dtype=float)
    u = 1.0 / (1.0 + chi)
    curves = np.reshape(mean_squares, (-1, len(chi)))
    half = PARABOLA_POINTS // 2
    minima = np.empty(len(curves))
    for number, curve in enumerate(curves):
        lowest = int(np.argmin(curve))
        first = max(0, min(lowest - half, len(chi) - PARABOLA_POINTS))
        window = slice(first, first + PARABOLA_POINTS)
        a, b, _ = np.polyfit(u[window] - u[lowest], curve[window], 2)
        place = u[lowest] - b / (2.0 * a) if a > 0 else u[lowest]
        minima[number] = np.clip(1.0 / max(place, 1e-12) - 1.0, chi[0], chi[-1])
    return minima.reshape(np.shape(mean_squares)[:-1])


class GroupedErrors:
    """Squared errors of several models, summed over groups of frames that are resampled together.

    :param errors: for each model a list of (frame, axis, error), of the same frames.
    :param groups: of the frames.
    :param n_bootstrap: number of resamples.
    :param seed: of the resamples, which are the same for all models: comparisons are paired.
    """

    def __init__(
        self,
        errors: Sequence[Sequence[tuple[int, int, float]]],
        groups: Sequence[str],
        n_bootstrap: int,
        seed: int,
    ) -> None:
        names = list(dict.fromkeys(groups[frame] for frame, _, _ in errors[0]))
        self.squares = np.zeros((len(errors), len(names)))
        self.counts = np.zeros((len(errors), len(names)))
        for model, of_model in enumerate(errors):
            for frame, _, error in of_model:
                self.squares[model, names.index(groups[frame])] += error**2
                self.counts[model, names.index(groups[frame])] += 1
        rng = np.random.default_rng(seed)
        self.resamples = rng.multinomial(
            len(names), np.full(len(names), 1.0 / len(names)), size=n_bootstrap
        )

    def mean_squares(self) -> np.ndarray:
        """Of each model over all groups, shape ``(n_models,)``."""
        return self.squares.sum(axis=1) / self.counts.sum(axis=1)

    def resampled_mean_squares(self) -> np.ndarray:
        """Of each resample and model, shape ``(n_bootstrap, n_models)``."""
        return (self.resamples @ self.squares.T) / (self.resamples @ self.counts.T)
