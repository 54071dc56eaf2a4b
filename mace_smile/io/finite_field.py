"""Born effective charges from forces in finite fields, as CP2K calculates them.

Six calculations at one geometry, in fields plus and minus E along x, y and z, give (S3, eq. 10)

    Z[i, a, b] = (F_ib(+E along a) - F_ib(-E along a)) / 2 E .

A seventh without a field gives energy, forces and, for molecules, the dipole. Which calculation
is which is read from the inputs, so file names do not matter. A field pushes a positive charge
along itself, so cations have positive tensors.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_detection import rotational_residual
from mace_smile.io.born_order import (
    ACOUSTIC_SUM_THRESHOLD,
    acoustic_sum,
    displacement_first,
    set_born_charges,
)
from mace_smile.io.boundary import with_boundary
from mace_smile.io.cp2k_input import Cp2kInput, read_cp2k_input
from mace_smile.io.dipole import AXES
from mace_smile.io.finite_field_calculation import read_calculation, read_open_dipole
from mace_smile.io.structure_files import KEYS

logger = logging.getLogger(__name__)

#: Largest difference of positions in A, and of field strengths relative, that is rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class FiniteFieldLabels:
    """The labels of one structure, and how good they are."""

    frame: ase.Atoms
    """With ``REF_becs`` (field first) and what the calculation without field gives."""
    acoustic_sum: float
    """Largest component of ``sum_i Z_i - Q 1``, in e."""
    rotational_residuals: tuple[float, float] | None
    """Root mean square residual of the rotational sum rule in e A, as it is and with the two
    indices exchanged; None without a dipole."""


def structure_folders(paths: Sequence[str | Path]) -> list[Path]:
    """The folders that hold the calculations of one structure each.

    :param paths: such folders, or folders of such folders.
    :raises UserError: for a path without inputs.
    """
    folders: list[Path] = []
    for path in map(Path, paths):
        inner = [path, *sorted(path.iterdir())] if path.is_dir() else []
        found = [folder for folder in inner if folder.is_dir() and any(folder.glob("*.inp"))]
        if not found:
            raise UserError(
                f"'{path}' must be a folder with the inputs (*.inp) of one structure, or a folder "
                "of such folders"
            )
        folders += found
    return folders


def read_finite_field_labels(
    folder: str | Path,
    boundary: str = "auto",
    threshold: float = ACOUSTIC_SUM_THRESHOLD,
) -> FiniteFieldLabels:
    """Born effective charges of the structure whose calculations are in a folder.

    :param folder: with inputs ``*.inp`` of CP2K and main outputs of the same stem (``.out`` or
        ``.log``).
    :param boundary: ``open`` or ``periodic``; ``auto``: by the empty space in the cell.
    :param threshold: component of the acoustic sum in e above which a warning tells it.
    :return: with ``REF_energy``, ``REF_forces`` and, for open structures, ``REF_dipole`` from
        the calculation without a field.
    :raises UserError: for missing directions, several calculations in one field, unequal fields
        or geometries, and calculations that are not finished or not converged.
    """
    folder = Path(folder)
    inputs = [read_cp2k_input(path) for path in sorted(folder.glob("*.inp"))]
    if not inputs:
        raise UserError(f"'{folder}' has no input '*.inp' of CP2K")
    _check_geometries(folder, inputs)
    by_field = _sort_by_field(folder, inputs)
    calculations = {name: read_calculation(setup) for name, setup in by_field.items()}
    forces = {name: calculation.forces for name, calculation in calculations.items()}
    strength = np.abs(by_field["+x"].electric_field).max()
    tensors = np.stack([forces[f"+{a}"] - forces[f"-{a}"] for a in AXES], axis=1) / (2 * strength)

    setup = by_field["+x"]
    frame = with_boundary(setup.atoms, boundary)
    frame.info["structure_id"] = folder.resolve().name
    if setup.total_charge:
        frame.info[KEYS[quantities.TOTAL_CHARGE]] = setup.total_charge
    residuals = None
    if "0" in calculations:
        frame.info[KEYS[quantities.ENERGY]] = calculations["0"].energy
        frame.arrays[KEYS[quantities.FORCES]] = calculations["0"].forces
        dipole = None if any(frame.pbc) else read_open_dipole(calculations["0"].setup)
        if dipole is not None:
            frame.info[KEYS[quantities.MACRO_DIPOLE]] = dipole
            both = (tensors, displacement_first(tensors))
            rests = [rotational_residual(frame, z, dipole) for z in both]
            residuals = (_root_mean_square(rests[0]), _root_mean_square(rests[1]))
    else:
        logger.warning(
            "'%s' has no calculation without a field: its frame has no energy and no forces", folder
        )
    set_born_charges(frame, tensors)
    largest = float(np.abs(acoustic_sum(tensors, setup.total_charge)).max())
    if largest > threshold:
        logger.warning(
            "'%s': sum_i Z_i - Q 1 is up to %.4f e, above %.4f e; converge the calculations "
            "further (EPS_SCF, grid cutoff)",
            folder,
            largest,
            threshold,
        )
    return FiniteFieldLabels(frame, largest, residuals)


def _sort_by_field(folder: Path, inputs: list[Cp2kInput]) -> dict[str, Cp2kInput]:
    """The calculations by their field: ``0``, ``+x``, ``-x``, ... ``-z``.

    :raises UserError: for missing directions, two in one field, and unequal strengths.
    """
    by_field: dict[str, Cp2kInput] = {}
    for setup in inputs:
        name = "0"
        if setup.electric_field.any():
            axis = int(np.abs(setup.electric_field).argmax())
            name = ("+" if setup.electric_field[axis] > 0 else "-") + AXES[axis]
        if name in by_field:
            raise UserError(
                f"'{by_field[name].path}' and '{setup.path}' both have the field {name}; keep one "
                "calculation for each field in a folder"
            )
        by_field[name] = setup
    missing = [sign + axis for axis in AXES for sign in "+-" if sign + axis not in by_field]
    if missing:
        raise UserError(
            f"'{folder}' has no calculation with the field along {', '.join(missing)}; plus and "
            "minus the same field along x, y and z are needed"
        )
    strengths = {
        name: float(np.abs(setup.electric_field).max())
        for name, setup in by_field.items()
        if name != "0"
    }
    if max(strengths.values()) > (1 + ROUNDING) * min(strengths.values()):
        shown = ", ".join(f"{name}: {value:.6f}" for name, value in strengths.items())
        raise UserError(
            f"the fields of '{folder}' are not equally strong (V/A; {shown}); use one INTENSITY"
        )
    return by_field


def _check_geometries(folder: Path, inputs: list[Cp2kInput]) -> None:
    """Check that all calculations have the same atoms, cell and charge.

    :raises UserError: naming the two that differ.
    """
    first = inputs[0]
    for other in inputs[1:]:
        same = (
            first.atoms.get_chemical_symbols() == other.atoms.get_chemical_symbols()
            and np.allclose(first.atoms.cell, other.atoms.cell, rtol=0, atol=ROUNDING)
            and np.array_equal(first.atoms.pbc, other.atoms.pbc)
            and first.total_charge == other.total_charge
        )
        moved = np.abs(first.atoms.positions - other.atoms.positions).max() if same else np.inf
        if moved > ROUNDING:
            what = f"positions differ by up to {moved:.6f} A" if same else "atoms, cell or charge"
            raise UserError(
                f"'{first.path.name}' and '{other.path.name}' in '{folder}' have different "
                f"geometries ({what}); all fields must act on one geometry"
            )


def _root_mean_square(values: np.ndarray) -> float:
    """Root mean square of all values."""
    return float(np.sqrt(np.mean(np.square(values))))
