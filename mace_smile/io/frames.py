"""From outputs of another code to frames with labels: structure, energy, forces and dipole.

ASE reads structures, energies and forces from VASP and Quantum ESPRESSO; our readers add the
dipole. From CP2K the structures come in a file of their own, because its output holds the cell with
three decimals only.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np

from mace_smile import quantities
from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.io.cp2k import read_cp2k_dipoles, read_cp2k_energies_and_forces
from mace_smile.io.dipole import AXES, Dipole
from mace_smile.io.espresso import read_espresso_dipoles
from mace_smile.io.structure_files import (
    KEYS,
    add_results,
    read_structures,
    read_structures_with_cells,
)
from mace_smile.io.vasp import read_vasp_dipoles

logger = logging.getLogger(__name__)

#: Reader of dipoles, and ASE's name of the format of structures, by code.
CODES: dict[str, tuple[Callable[[str | Path], list[Dipole]], str | None]] = {
    "vasp": (read_vasp_dipoles, "vasp-out"),
    "cp2k": (read_cp2k_dipoles, None),
    "qe": (read_espresso_dipoles, "espresso-out"),
}


def label_frame(atoms: ase.Atoms, dipole: Dipole) -> ase.Atoms:
    """A copy of a structure with its dipole as a label, and with the boundary it belongs to.

    Energy, forces and, in periodic cells, stress of its calculator become labels too: the free
    energy where there is one, since the forces are its derivative.

    :param atoms: the structure the dipole was calculated for.
    :param dipole: of its cell, from a reader of this package.
    :return: with ``REF_dipole`` in e A, ``config_dipole_weight`` (1 along the axes that are
        known, else 0), ``dipole_source`` and, for a periodic cell, ``dipole_quantum`` in e; ``pbc``
        is False along the normal of a slab, along all axes of an open structure, else True.
    :raises UserError: for a slab whose other cell vectors are not perpendicular to the axis of
        the dipole.
    """
    frame = atoms.copy()
    frame.calc = None
    add_results(frame, atoms, with_stress=dipole.boundary == "periodic")
    known = np.array([axis in dipole.axes for axis in AXES])
    frame.info[KEYS[quantities.MACRO_DIPOLE]] = np.where(known, dipole.vector, 0.0)
    frame.info[f"config_{quantities.DIPOLE}_weight"] = known.astype(float)
    frame.info["dipole_source"] = dipole.source
    if dipole.quantum is not None:
        frame.info["dipole_quantum"] = dipole.quantum
    frame.pbc = dipole.boundary == "periodic"
    if dipole.boundary == "slab":
        _check_normal(frame, dipole.axes)
        frame.pbc = ~known
    return frame


def read_labelled_frames(
    code: str, outputs: Sequence[str | Path], structures: str | Path | None = None
) -> list[ase.Atoms]:
    """Frames with labels from the outputs of one code; steps without convergence are left out.

    :param code: ``vasp``, ``cp2k`` or ``qe``.
    :param outputs: OUTCAR files, main outputs of CP2K, or outputs of pw.x.
    :param structures: for CP2K, a file with cell and positions of all ionic steps of all outputs
        in their order; the others hold theirs.
    :raises UserError: for files that cannot be read, numbers of structures and dipoles that
        differ, and what the readers refuse.
    """
    if code not in CODES:
        raise UserError(f"the code is '{code}' but must be one of {', '.join(CODES)}")
    if (structures is None) == (code == "cp2k"):
        raise UserError(
            "`--structures` is the file of structures (with cells) of CP2K, whose output does not "
            "hold them to all digits; give it with cp2k, and with no other code"
        )
    read_dipoles, form = CODES[code]
    dipoles = [(path, dipole) for path in outputs for dipole in read_dipoles(path)]
    if structures is None:
        frames = [atoms for path in outputs for atoms in read_structures(path, form)]
    else:
        frames = read_structures_with_cells(structures)
    if len(frames) != len(dipoles):
        raise UserError(
            f"there are {len(frames)} structures but {len(dipoles)} dipoles in "
            f"{', '.join(map(str, outputs))}; give the complete output of each run, and with "
            "`--structures` one structure for each of their ionic steps"
        )
    labelled = [
        label_frame(atoms, dipole) for atoms, (_, dipole) in zip(frames, dipoles, strict=True)
    ]
    if code == "cp2k":
        _add_cp2k_results(labelled, outputs)
    for path, dipole in dipoles:
        if not dipole.converged:
            logger.warning("an ionic step of '%s' is not converged and is left out", path)
    return [frame for frame, (_, dipole) in zip(labelled, dipoles, strict=True) if dipole.converged]


def write_frames(frames: list[ase.Atoms], path: str | Path, overwrite: bool = False) -> None:
    """Write frames as extended XYZ, complete or not at all.

    :raises UserError: for no frames, and a file that exists and may not be replaced.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"'{path}' exists; give another name, or --overwrite to replace it")
    if not frames:
        raise UserError(f"no converged ionic step was found, so '{path}' is not written")
    with complete_or_absent(path) as unfinished:
        ase.io.write(unfinished, frames, format="extxyz")


def _check_normal(atoms: ase.Atoms, axis: str) -> None:
    """Check that the dipole of a slab is along the normal of its cell.

    :raises UserError: with the remedy.
    """
    index = AXES.index(axis)
    plane = np.delete(np.asarray(atoms.cell), index, axis=0)  # (2, 3)
    if np.abs(plane[:, index]).max() > 1e-6 * max(np.abs(plane).max(), 1.0):
        raise UserError(
            f"the dipole is along {axis} but the cell vectors in the plane of the slab are "
            f"{plane.round(4).tolist()}; they must be perpendicular to {axis}: rotate the "
            "structure and run it again"
        )


def _add_cp2k_results(frames: list[ase.Atoms], outputs: Sequence[str | Path]) -> None:
    """Add energies and, where printed, forces of CP2K to frames, in place.

    :raises UserError: for forces that do not fit the structures.
    """
    results = [result for path in outputs for result in read_cp2k_energies_and_forces(path)]
    for index, (frame, (energy, forces)) in enumerate(zip(frames, results, strict=True)):
        frame.info[KEYS[quantities.ENERGY]] = energy
        if forces is not None:
            if forces.shape != frame.positions.shape:
                raise UserError(
                    f"structure {index} has {len(frame)} atoms but the output of CP2K forces of "
                    f"{len(forces)}; give the structures of the same run"
                )
            frame.arrays[KEYS[quantities.FORCES]] = forces
