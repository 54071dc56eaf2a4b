"""Dipoles out of OUTCAR files: sign, unit, steps, and what is refused."""

import numpy as np
import pytest

from foreign_outputs import (
    WATER_DIPOLE,
    berry_lines,
    dipole_lines,
    outcar_step,
    water_along_z,
    write_outcar,
)
from mace_smile.errors import UserError
from mace_smile.io.vasp import (
    read_vasp_berry_dipoles,
    read_vasp_dipoles,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "OUTCAR"


def test_water_along_z_has_a_positive_dipole(path):
    """VASP counts electrons positive: a molecule with mu_z > 0 has a negative dipolmoment."""
    printed = dipole_lines(-WATER_DIPOLE)
    (dipole,) = read_vasp_dipoles(write_outcar(path, outcar_step(water_along_z(), printed)))
    np.testing.assert_allclose(dipole.vector, [0, 0, WATER_DIPOLE])
    assert (dipole.axes, dipole.boundary, dipole.quantum) == ("z", "slab", None)
    assert dipole.converged


def test_last_electronic_step_of_each_ionic_step_counts(path):
    steps = [
        outcar_step(water_along_z(), dipole_lines(-9.0) + dipole_lines(-first))
        for first in (0.3, 0.4)
    ]
    tail = dipole_lines(-7.0)  # of a third step that was cut off
    dipoles = read_vasp_dipoles(write_outcar(path, *steps, tail))
    assert [dipole.vector[2] for dipole in dipoles] == [0.3, 0.4]


def test_only_the_axis_of_idipol_is_known(path):
    lines = dipole_lines(-0.2).replace("0.000000      0.000000", "0.100000      0.300000")
    step = outcar_step(water_along_z(), lines)
    for idipol, axes, vector in (
        ("1", "x", [-0.1, 0, 0]),
        ("2", "y", [0, -0.3, 0]),
        ("3", "z", [0, 0, 0.2]),
        ("4", "xyz", [-0.1, -0.3, 0.2]),
    ):
        (dipole,) = read_vasp_dipoles(write_outcar(path, step, idipol=idipol))
        assert dipole.axes == axes
        np.testing.assert_allclose(dipole.vector, vector)
    assert dipole.boundary == "open"


def test_steps_without_convergence_are_marked(path):
    step = outcar_step(water_along_z(), dipole_lines(-0.2), is_converged=False)
    assert not read_vasp_dipoles(write_outcar(path, step))[0].converged


def ion_pair(height):
    """p[ion] and p[elc] in e A of a cation (+9, 8 electrons) below an anion (+7, 8 electrons)."""
    cation, anion = np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 3.0 + height])
    return 9 * cation + 7 * anion, -8 * cation - 8 * anion


@pytest.mark.parametrize(("unit", "sign"), [("|e| Angst", 1), ("electrons Angst", -1)])
def test_berry_phases_of_an_ion_pair(path, unit, sign):
    """The unit tells the sign.

    The dipole points from the anion down to the cation, and falls by the displacement when the
    anion, of charge -1, moves up.
    """
    dipoles = []
    for height in (0.0, 0.1):
        ionic, electronic = ion_pair(height)
        step = outcar_step(water_along_z(), berry_lines(sign * ionic, sign * electronic, unit))
        dipoles += read_vasp_dipoles(write_outcar(path, step, idipol="0", ldipol="F"))
    np.testing.assert_allclose(dipoles[0].vector, [0, 0, -2.0], atol=1e-10)
    np.testing.assert_allclose(dipoles[1].vector - dipoles[0].vector, [0, 0, -0.1], atol=1e-10)
    assert (dipoles[0].axes, dipoles[0].boundary, dipoles[0].quantum) == ("xyz", "periodic", 1.0)


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ("", {}, "neither a line 'dipolmoment' nor 'Ionic.*LDIPOL = .TRUE. and IDIPOL = 3"),
        (dipole_lines(0.1), {"ldipol": "F"}, "IDIPOL = 3 but without LDIPOL.*LDIPOL = .TRUE."),
        (dipole_lines(0.1), {"idipol": "0"}, "does not say IDIPOL = 1, 2, 3 or 4; run VASP"),
        (dipole_lines(0.1, unit="|e| x Angstroem"), {}, r"is in '\|e\| x Angs.*look up the sign"),
        (dipole_lines(0.1, charged=0.2), {}, "energy correction for charged.*make it neutral"),
        (dipole_lines(0.1, field=0.2), {}, "external field .EFIELD.*leave EFIELD out"),
        (berry_lines([1, 1, 1], [0, 0, 0], "e*Angst"), {}, "in 'e.Angst'.*LCALCPOL, not LBERRY"),
        (2 * berry_lines([1, 1, 1], [0, 0, 0]), {}, "2 lines of p.ion. and 2 of.*but 1 ionic st"),
    ],
)
def test_outputs_without_a_dipole_of_known_sign_are_refused(path, lines, options, message):
    step = outcar_step(water_along_z(), lines)
    with pytest.raises(UserError, match=message):
        read_vasp_dipoles(write_outcar(path, step, **options))


def test_missing_files_and_unfinished_runs_are_refused(path):
    with pytest.raises(UserError, match="there is no file '.*OUTCAR'"):
        read_vasp_dipoles(path)
    with pytest.raises(UserError, match="no finished ionic step.*a VASP run that came to its end"):
        read_vasp_dipoles(write_outcar(path, dipole_lines(0.1)))
    steps = [outcar_step(water_along_z(), lines) for lines in (dipole_lines(0.1), "")]
    with pytest.raises(UserError, match="ionic step 1 of .* has no line 'dipolmoment'"):
        read_vasp_dipoles(write_outcar(path, *steps))
    with pytest.raises(UserError, match="0 lines of p.ion. and 0 of p.elc. but 1 ionic steps"):
        read_vasp_berry_dipoles(write_outcar(path, steps[0]))


def test_molecules_without_the_correction_are_noted(path, caplog):
    step = outcar_step(water_along_z(), dipole_lines(-0.2))
    read_vasp_dipoles(write_outcar(path, step, idipol="4", ldipol="F"))
    assert "without LDIPOL: periodic images polarize the molecule a little" in caplog.text
