"""Averages over frames, Gaussians and windows."""

import numpy as np
import pytest

from mace_smile.analysis.averages import block_error, macroscopic_average, smooth


def test_block_error_of_independent_frames_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=(2000, 100))
    for n_blocks in (10, 200):
        error = np.sqrt(np.mean(block_error(values, n_blocks) ** 2))
        assert error == pytest.approx(1 / np.sqrt(2000), rel=0.1)


def test_block_error_sees_that_frames_are_alike():
    """Each value is repeated 20 times: there are 100 independent ones among 2000."""
    values = np.repeat(np.random.default_rng(1).normal(size=(100, 100)), 20, axis=0)
    error = np.sqrt(np.mean(block_error(values, 10) ** 2))
    assert error == pytest.approx(1 / np.sqrt(100), rel=0.1)
    naive = np.sqrt(np.mean(block_error(values, 2000) ** 2))
    assert error > 4 * naive


def test_one_frame_has_no_error():
    assert np.isnan(block_error(np.ones((1, 4)), 10)).all()
    assert np.isnan(block_error(np.ones((9, 4)), 1)).all()
    assert np.isfinite(block_error(np.ones((2, 4)), 10)).all()


def test_a_smoothed_gaussian_is_a_wider_one_and_ends_stay():
    points = np.linspace(-10.0, 10.0, 801)
    values = np.stack([np.exp(-0.5 * (points / 0.6) ** 2) + 3.0, np.full(801, 2.0)])
    smoothed = smooth(points, values, 0.8)
    expected = 0.6 * np.exp(-0.5 * points**2) + 3.0
    np.testing.assert_allclose(smoothed, [expected, values[1]], atol=1e-6)


def test_a_window_of_one_period_removes_an_oscillation():
    points = np.linspace(0.0, 30.0, 3001)
    values = 0.5 + np.sin(2 * np.pi * points / 2.5) + 0.1 * np.cos(2 * np.pi * points / 4.0)
    inside = (points > 8.0) & (points < 22.0)
    one = macroscopic_average(points, values, [2.5])
    assert np.abs(one[inside] - 0.5).max() > 0.02
    two = macroscopic_average(points, values, [2.5, 4.0])
    np.testing.assert_allclose(two[inside], 0.5, atol=1e-4)


def test_a_window_keeps_slopes_and_the_area_of_rows():
    points = np.linspace(0.0, 20.0, 401)
    rows = np.stack([0.3 * points, np.exp(-0.5 * (points - 10.0) ** 2)])
    averaged = macroscopic_average(points, rows, [3.0])
    inside = (points > 2.0) & (points < 18.0)
    np.testing.assert_allclose(averaged[0][inside], rows[0][inside], atol=1e-10)
    np.testing.assert_allclose(averaged[1].sum(), rows[1].sum(), rtol=1e-6)
