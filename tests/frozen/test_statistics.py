import numpy as np
import pytest

from mace_smile.errors import UserError
from mace_smile.frozen.groups import assign_folds
from mace_smile.frozen.statistics import GroupedErrors, parabola_minimum


def test_minimum_of_a_parabola_in_inverse_screening_is_exact():
    chi = np.array([0.0, 0.1, 0.3, 0.4, 0.6, 0.9, 1.5])
    u = 1.0 / (1.0 + chi)
    curves = np.stack([(u - 1.0 / 1.47) ** 2 + 0.01, 3.0 * (u - 1.0 / 1.2) ** 2])
    assert parabola_minimum(chi, curves) == pytest.approx([0.47, 0.2])


def test_minimum_stays_within_the_list():
    chi = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    assert parabola_minimum(chi, (1.0 / (1.0 + chi)) ** 2) == pytest.approx(0.4)


def test_bootstrap_is_paired_and_resamples_groups():
    rng = np.random.default_rng(0)
    groups = [f"run {n // 4}" for n in range(80)]
    of_group = rng.normal(size=20)  # frames of a run share their error
    errors = [(n, 2, float(of_group[n // 4])) for n in range(80)]
    worse = [(n, 2, 1.1 * error) for n, _, error in errors]
    both = GroupedErrors([errors, worse], groups, 4000, 0)
    first, second = np.sqrt(both.resampled_mean_squares()).T
    assert second == pytest.approx(1.1 * first)
    # The variance of a mean of 20 independent squares, not of 80.
    squares = both.resampled_mean_squares()[:, 0]
    assert squares.std() == pytest.approx(np.std(of_group**2) / np.sqrt(20), rel=0.05)


def test_folds_hold_whole_groups_and_are_alike():
    groups = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"] * 2
    folds = assign_folds(groups, 2)
    assert sorted(folds.count(fold) for fold in (0, 1)) == [5, 7]
    assert len({(group, fold) for group, fold in zip(groups, folds, strict=True)}) == 4
    with pytest.raises(UserError, match="1 groups of frames but --folds 2"):
        assign_folds(["a", "a"], None)
