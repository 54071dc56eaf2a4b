"""Dipoles, energies and forces out of CP2K: sign, unit, steps, and what is refused."""

import ase.units
import numpy as np
import pytest

from foreign_outputs import WATER_DIPOLE, moments_lines, surface_lines, write_cp2k_output
from mace_smile.errors import UserError
from mace_smile.io.cp2k import (
    read_cp2k_dipoles,
    read_cp2k_energies_and_forces,
    read_cp2k_moments,
    read_cp2k_surface_dipoles,
)

DEBYE = 4.80320471  # in 1 e A

FORCES_2023 = """ ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      O          -0.00000000    -0.00000000    -0.01800000
      2      2      H           0.00900000     0.00000000     0.00600000
      3      2      H          -0.00900000    -0.00000000     0.00600000
 SUM OF ATOMIC FORCES          -0.00000000    -0.00000000    -0.00600000     0.00600000
"""
FORCES_2025 = """ FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom     x               y               z               |f|
 FORCES|      1  0.00000000E+00  0.00000000E+00 -1.80000000E-02   1.80000000E-02
 FORCES|      2  9.00000000E-03  0.00000000E+00  6.00000000E-03   1.08166538E-02
 FORCES|      3 -9.00000000E-03  0.00000000E+00  6.00000000E-03   1.08166538E-02
 FORCES| Sum     0.00000000E+00  0.00000000E+00 -6.00000000E-03   6.00000000E-03
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cp2k.out"


def test_surface_dipole_of_water_along_z_is_positive(path):
    """The surface correction counts electrons positive, so it prints minus the dipole."""
    (dipole,) = read_cp2k_dipoles(write_cp2k_output(path, surface_lines(-WATER_DIPOLE)))
    np.testing.assert_allclose(dipole.vector, [0, 0, WATER_DIPOLE])
    assert (dipole.axes, dipole.boundary, dipole.converged) == ("z", "slab", True)
    (dipole,) = read_cp2k_dipoles(path, axis="x")
    np.testing.assert_allclose(dipole.vector, [WATER_DIPOLE, 0, 0])


@pytest.mark.parametrize(
    ("operator", "periodicity", "quantum", "boundary"),
    [("Berry", "XYZ", 1.0, "periodic"), ("traditional", "NONE", None, "open")],
)
def test_moments_of_water_along_z_are_positive(path, operator, periodicity, quantum, boundary):
    """Moments are in Debye and physical: the gas-phase dipole of water is +1.85 D."""
    lines = moments_lines(1.85, operator)
    (dipole,) = read_cp2k_dipoles(write_cp2k_output(path, lines, periodicity=periodicity))
    np.testing.assert_allclose(dipole.vector, [0, 0, 1.85 / DEBYE], rtol=1e-6, atol=1e-10)
    assert (dipole.axes, dipole.quantum, dipole.boundary) == ("xyz", quantum, boundary)


def test_surface_dipole_is_taken_where_both_are_printed(path):
    write_cp2k_output(path, moments_lines(8.6, "traditional") + surface_lines(-0.3))
    assert read_cp2k_dipoles(path)[0].vector[2] == pytest.approx(0.3)


def test_last_cycle_of_each_ionic_step_counts(path):
    steps = [surface_lines(-9.0) + surface_lines(-z) for z in (0.3, 0.4)]
    dipoles = read_cp2k_dipoles(write_cp2k_output(path, *steps, converged=(True, False)))
    assert [dipole.vector[2] for dipole in dipoles] == [0.3, 0.4]
    assert [dipole.converged for dipole in dipoles] == [True, False]


@pytest.mark.parametrize(
    ("table", "unit"), [(FORCES_2023, "[a.u.]:"), (FORCES_2025, "[hartree]   ")]
)
def test_energies_and_forces_of_both_formats(path, table, unit):
    lines = surface_lines(-0.3)
    write_cp2k_output(path, lines, lines, tables=(table, ""), unit=unit)
    (energy, forces), (second, none) = read_cp2k_energies_and_forces(path)
    hartree_by_bohr = ase.units.Hartree / ase.units.Bohr
    expected = np.array([[0, 0, -0.018], [0.009, 0, 0.006], [-0.009, 0, 0.006]])
    np.testing.assert_allclose(forces, expected * hartree_by_bohr, atol=1e-12)
    assert energy == pytest.approx(-17.25 * ase.units.Hartree)
    assert second == pytest.approx(-18.25 * ase.units.Hartree)
    assert none is None


@pytest.mark.parametrize(
    ("lines", "periodicity", "message"),
    [
        ("", "XYZ", "neither the dipole of the surface.*SURFACE_DIPOLE_CORRECTION T.*&MOMENTS"),
        (surface_lines(-0.3, charge=0.5), "XYZ", "net charge of 0.5 e.*make it neutral"),
        (moments_lines(1.8, charge=-1.0), "XYZ", "net charge of -1 e.*make it neutral"),
        (moments_lines(1.8, "traditional"), "XYZ", "traditional operator.*periodicity is XYZ; use"),
        (moments_lines(1.8), "NONE", "Berry phase operator.*periodicity is NONE; use PERIODIC T"),
        (moments_lines(1.8), "XY", "periodicity is XY; use.*surface dipole correction for slabs"),
    ],
)
def test_dipoles_that_are_no_labels_are_refused(path, lines, periodicity, message):
    with pytest.raises(UserError, match=message):
        read_cp2k_dipoles(write_cp2k_output(path, lines, periodicity=periodicity))


def test_missing_lines_and_wrong_arguments_are_refused(path):
    with pytest.raises(UserError, match="there is no file '.*cp2k.out'"):
        read_cp2k_dipoles(path)
    write_cp2k_output(path, surface_lines(-0.3), "")
    with pytest.raises(UserError, match="ionic step 1 of .* has no line 'the slab .*SWITCH"):
        read_cp2k_dipoles(path)
    with pytest.raises(UserError, match="ionic step 0 of .* has no 'Dipole moment .Debye.'"):
        read_cp2k_moments(path)
    write_cp2k_output(path, surface_lines(-0.3), unit="[eV]:")
    with pytest.raises(UserError, match="an energy that is not in Hartree"):
        read_cp2k_energies_and_forces(path)
    for axis in ("xy", "w", ""):
        with pytest.raises(UserError, match=f"axis of the slab is '{axis}' but must be x, y or z"):
            read_cp2k_surface_dipoles(path, axis=axis)
