"""Conductivities of currents whose memory is known: an Ornstein-Uhlenbeck process."""

import numpy as np
import pytest
from ase import units
from scipy import constants

from mace_smile.analysis.conductivity import (
    SIEMENS_PER_METRE,
    green_kubo,
    ionic_current,
    ohms_law,
)
from mace_smile.errors import UserError

VOLUME, TEMPERATURE = 2000.0, 1200.0  # A^3, K
MEMORY, TIME_STEP = 100.0, 10.0  # fs
STRENGTH = 0.02  # e A/fs, standard deviation of the current along an axis
# The integral of STRENGTH^2 exp(-t / MEMORY) is STRENGTH^2 MEMORY.
CONDUCTIVITY = SIEMENS_PER_METRE * STRENGTH**2 * MEMORY / (VOLUME * units.kB * TEMPERATURE)


def random_currents(n_steps: int, seed: int) -> np.ndarray:
    """Currents with an exponential memory, shape ``(n_steps, 3)``."""
    rng = np.random.default_rng(seed)
    kept = np.exp(-TIME_STEP / MEMORY)
    noise = STRENGTH * np.sqrt(1 - kept**2) * rng.standard_normal((n_steps, 3))
    currents = np.empty((n_steps, 3))
    currents[0] = STRENGTH * rng.standard_normal(3)
    for step in range(1, n_steps):
        currents[step] = kept * currents[step - 1] + noise[step]
    return currents


def conductivity(currents: np.ndarray, cutoff: float = 800.0):
    return green_kubo(currents, TIME_STEP, VOLUME, TEMPERATURE, cutoff)


def test_green_kubo_finds_the_conductivity_of_an_exponential_memory():
    result = conductivity(random_currents(100_000, seed=1))
    assert result.error < 0.05 * CONDUCTIVITY
    assert abs(result.conductivity - CONDUCTIVITY) < 3 * result.error
    assert result.correlation[0] == pytest.approx(STRENGTH**2, rel=0.05)
    assert result.times[-1] == 800.0


def test_errors_are_as_large_as_deviations():
    results = [conductivity(random_currents(4_000, seed)) for seed in range(60)]
    deviations = [(result.conductivity - CONDUCTIVITY) / result.error for result in results]
    assert 0.75 < np.std(deviations) < 1.3
    assert abs(np.mean(deviations)) < 0.5


def test_green_kubo_of_drude_ions_is_n_q2_tau_over_m():
    """Free ions of mass m with a friction: <v^2> = kT/m, so that sigma = n q^2 tau / m."""
    n_ions, mass = 64, 23.0
    thermal = np.sqrt(units.kB * TEMPERATURE / mass) * units.fs  # A/fs
    scale = np.sqrt(n_ions) * thermal / STRENGTH  # random velocities add up
    result = conductivity(scale * random_currents(100_000, seed=2))
    density = n_ions / (VOLUME * constants.angstrom**3)
    expected = density * constants.e**2 * MEMORY * constants.femto / (mass * constants.atomic_mass)
    assert abs(result.conductivity - expected) < 3 * result.error
    assert result.error < 0.05 * expected


def test_ohms_law_finds_the_conductivity_of_shifted_currents():
    fields = [0.01, 0.02, -0.04]
    runs = [
        random_currents(20_000, seed)[:, 0] + CONDUCTIVITY / SIEMENS_PER_METRE * VOLUME * field
        for seed, field in enumerate(fields)
    ]
    result = ohms_law(fields, runs, VOLUME)
    assert result.error < 0.1 * CONDUCTIVITY
    assert abs(result.conductivity - CONDUCTIVITY) < 3 * result.error
    assert result.chi_squared < 4


def test_a_current_that_is_not_linear_in_the_field_is_noticed():
    fields = [0.01, 0.02, 0.04]
    runs = [random_currents(20_000, 1)[:, 0] + 100 * field**2 for field in fields]
    assert ohms_law(fields, runs, VOLUME).chi_squared > 10


def test_the_current_moves_the_dipole():
    """J_a = sum Z_iab v_ib with the field index first, so not with the transpose."""
    rng = np.random.default_rng(3)
    charges, velocities = rng.normal(size=(5, 4, 3, 3)), rng.normal(size=(5, 4, 3))
    current = ionic_current(charges, velocities)
    expected = sum(charges[:, atom] @ velocities[:, atom, :, None] for atom in range(4))
    np.testing.assert_allclose(current, expected[..., 0])


def test_a_cutoff_longer_than_the_blocks_is_refused():
    with pytest.raises(UserError, match="shorter than a block of 1000 fs"):
        conductivity(random_currents(1_000, seed=1), cutoff=1500.0)


def test_a_field_of_zero_is_refused():
    with pytest.raises(UserError, match="not zero"):
        ohms_law([0.0, 0.01], [np.ones(10), np.ones(10)], VOLUME)
