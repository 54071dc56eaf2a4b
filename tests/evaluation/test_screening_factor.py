"""The two fits of one factor: their minima, and their uncertainties."""

import numpy as np
import pytest

from mace_smile.evaluation.screening_factor import (
    FITS,
    LEAST_ABSOLUTE,
    LEAST_SQUARES,
    Components,
    fit_factor,
    resample,
    weighted_median,
)


def noisy(n_frames=12, n=40, factor=1.4, noise=0.3, seed=0):
    """Labels that are a factor times predictions, with an error that each frame has of its own."""
    rng = np.random.default_rng(seed)
    slopes = rng.normal(size=(n_frames, n))
    own = factor + noise * rng.normal(size=(n_frames, 1))
    frames = np.repeat(np.arange(n_frames), n)
    return Components(slopes.ravel(), (own * slopes).ravel(), frames)


@pytest.mark.parametrize("fit", FITS)
def test_fits_are_minima_of_what_they_say(fit):
    components = noisy(seed=3)
    value = fit_factor(components, fit, 10, 0).value
    which = FITS.index(LEAST_ABSOLUTE) == FITS.index(fit)
    error = (lambda s: components.errors(s)[0]) if which else (lambda s: components.errors(s)[1])
    others = value + np.concatenate([-np.geomspace(1e-5, 1, 30), np.geomspace(1e-5, 1, 30)])
    assert all(error(value) <= error(other) + 1e-12 for other in others)


def test_least_squares_is_the_linear_regression():
    components = noisy(seed=5)
    expected = np.linalg.lstsq(components.slopes[:, None], components.targets, rcond=None)[0][0]
    assert fit_factor(components, LEAST_SQUARES, 10, 0).value == pytest.approx(expected, abs=1e-12)


def test_least_absolute_is_not_moved_by_few_outliers():
    components = noisy(noise=0.0)
    components.targets[:40] += 100.0
    assert fit_factor(components, LEAST_ABSOLUTE, 10, 0).value == pytest.approx(1.4, abs=1e-12)
    assert abs(fit_factor(components, LEAST_SQUARES, 10, 0).value - 1.4) > 0.01


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([1.0, 2.0, 3.0], [1, 1, 1], 2.0),
        ([1.0, 2.0], [1, 1], 1.5),
        ([1.0, 2.0, 3.0], [1, 1, 5], 3.0),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 2], 3.0),
        ([-4.0], [2.5], -4.0),
    ],
)
def test_weighted_median(values, weights, expected):
    assert weighted_median(np.array(values), np.array(weights, dtype=float)) == expected


@pytest.mark.parametrize("fit", FITS)
def test_resamples_are_fits_to_frames_drawn_anew(fit):
    """The distribution is that of fits to data in which frames are repeated as drawn."""
    components = noisy()
    estimate = fit_factor(components, fit, 20, 7)
    values = []
    for counts in resample(12, 20, 7):
        drawn = np.repeat(np.arange(12), counts)
        index = np.concatenate([np.flatnonzero(components.frames == frame) for frame in drawn])
        values.append(fit_factor(components.select(index), fit, 10, 0).value)
    assert estimate.error == pytest.approx(np.std(values), rel=1e-9)
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(values, (0.16, 0.84)))


def test_the_uncertainty_is_that_of_independent_frames():
    """For frames of one size it is the standard error of their own factors."""
    estimate = fit_factor(noisy(n_frames=200, n=400), LEAST_SQUARES, 500, 0)
    assert estimate.error == pytest.approx(0.3 / np.sqrt(200), rel=0.2)


def test_one_frame_has_a_factor_and_no_uncertainty():
    estimate = fit_factor(noisy(n_frames=1), LEAST_SQUARES, 50, 0)
    assert np.isfinite(estimate.value)
    assert np.isnan(estimate.error)
