"""Dipoles out of pw.x: sign, unit, steps, Berry phases of any cell, and what is refused."""

import numpy as np
import pytest

from foreign_outputs import (
    WATER_DIPOLE,
    correction_lines,
    water_along_z,
    write_berry_output,
    write_pw_output,
)
from mace_smile.errors import UserError
from mace_smile.io.espresso import read_espresso_berry_dipole, read_espresso_dipoles

DEBYE = 4.80320471  # in 1 e A
BOHR = 0.529177210903  # A


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pw.out"


def test_water_along_z_has_a_positive_dipole(path):
    """pw.x prints the physical sign: +1.87 D for a molecule whose hydrogens are above."""
    lines = correction_lines(DEBYE * WATER_DIPOLE)
    (dipole,) = read_espresso_dipoles(write_pw_output(path, water_along_z(), lines))
    np.testing.assert_allclose(dipole.vector, [0, 0, WATER_DIPOLE], atol=2e-5)  # 1e-4 D
    assert (dipole.axes, dipole.boundary, dipole.quantum) == ("z", "slab", None)


def test_last_electronic_step_of_each_ionic_step_counts(path):
    steps = [correction_lines(9.0) + correction_lines(debye) for debye in (1.8, 1.9)]
    dipoles = read_espresso_dipoles(write_pw_output(path, water_along_z(), *steps))
    found = [dipole.vector[2] * DEBYE for dipole in dipoles]
    np.testing.assert_allclose(found, [1.8, 1.9], rtol=1e-6)


def test_edir_names_the_axis(path):
    lines = correction_lines(1.8, edir=1)
    (dipole,) = read_espresso_dipoles(write_pw_output(path, water_along_z(), lines))
    assert dipole.axes == "x"
    np.testing.assert_allclose(dipole.vector, [1.8 / DEBYE, 0, 0], rtol=1e-6)


def berry_dipole(tmp_path, cell, positions, charges, modulus=1):
    """The dipole of point charges, by way of the three outputs pw.x would write."""
    paths = []
    for index, vector in enumerate(cell):
        length = np.linalg.norm(vector)
        phase = charges @ np.linalg.solve(cell.T, positions.T)[index]
        phase -= np.round(phase)  # pw.x chooses the branch
        paths.append(tmp_path / f"gdir{index + 1}.out")
        value = phase * length / BOHR
        write_berry_output(paths[-1], index + 1, vector / length, value, modulus)
    return read_espresso_berry_dipole(paths)


def test_parts_along_the_lattice_vectors_add_up_in_any_cell(tmp_path):
    """An ion pair in a triclinic cell: +1 above -1 by (0.3, 0.2, 0.5) A."""
    cell = np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [-1.5, 0.7, 7.0]])
    positions = np.array([[1.0, 2.0, 3.0], [1.3, 2.2, 3.5]])
    charges = np.array([-1.0, 1.0])
    dipole = berry_dipole(tmp_path, cell, positions, charges)
    np.testing.assert_allclose(dipole.vector, [0.3, 0.2, 0.5], atol=1e-4)  # 5 digits of directions
    assert (dipole.axes, dipole.boundary, dipole.quantum) == ("xyz", "periodic", 1.0)
    positions[1, 2] += 0.1  # the cation goes up, and so does the dipole
    moved = berry_dipole(tmp_path, cell, positions, charges, modulus=2)
    np.testing.assert_allclose(moved.vector - dipole.vector, [0, 0, 0.1], atol=1e-4)
    assert moved.quantum == 2.0


@pytest.mark.parametrize(
    ("lines", "electrons", "message"),
    [
        ("", 8.0, "ionic step 0 of .* no line 'Computed dipole.*tefield = .true., dipfield"),
        (correction_lines(1.8, field=1e-3), 8.0, "external field .eamp = 1.0000E-03.*set eamp = 0"),
        (correction_lines(1.8), 7.0, "net charge of 1 e.*set tot_charge = 0"),
    ],
)
def test_dipoles_that_are_no_labels_are_refused(path, lines, electrons, message):
    write_pw_output(path, water_along_z(), lines, electrons=electrons)
    with pytest.raises(UserError, match=message):
        read_espresso_dipoles(path)


def test_missing_files_and_directions_are_refused(path):
    with pytest.raises(UserError, match="there is no file '.*pw.out'"):
        read_espresso_dipoles(path)
    write_pw_output(path, water_along_z())
    with pytest.raises(UserError, match="no finished ionic step.*a pw.x run that came to its end"):
        read_espresso_dipoles(path)
    with pytest.raises(UserError, match="no 'VALUES OF POLARIZATION'.*lberry = .true., gdir and"):
        read_espresso_berry_dipole([path])
    write_berry_output(path, 3, (0, 0, 1), 0.7)
    with pytest.raises(UserError, match="have gdir 3, 3 but must have 1, 2 and 3, once each"):
        read_espresso_berry_dipole([path, path])
