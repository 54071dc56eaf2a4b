"""Structures as ASE reads them, with the results of their calculation as labels."""

from pathlib import Path

import ase
import ase.io
import numpy as np

from mace_smile import quantities
from mace_smile.errors import UserError

KEYS = {name: quantities.BY_NAME[name].key for name in quantities.BY_NAME}


def read_structures(
    path: str | Path, form: str | None = None, index: str | None = None
) -> list[ase.Atoms]:
    """Structures of a file.

    :param path: of any file ASE reads.
    :param form: ASE's name of the format; None: by the file.
    :param index: which of them (``--index``), as in ASE; None: all, if any.
    :raises UserError: for a file that is not there, or that ASE cannot read, and for an index
        that chooses none.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no file '{path}'")
    chosen = "" if index is None else f" with --index {index}"
    try:
        frames = ase.io.read(path, ":" if index is None else index, format=form)
    except Exception as error:  # ASE's readers raise anything
        raise UserError(f"'{path}' cannot be read as structures{chosen}: {error}") from error
    if isinstance(frames, ase.Atoms):
        return [frames]
    if index is not None and not frames:
        raise UserError(f"'{path}' holds no structures{chosen}; give another index")
    return list(frames)


def read_structures_with_cells(path: str | Path) -> list[ase.Atoms]:
    """All structures of a file, each with three cell vectors.

    :raises UserError: where ASE cannot read them, and for structures without a cell.
    """
    frames = read_structures(path)
    if any(atoms.cell.rank < 3 for atoms in frames):
        raise UserError(
            f"'{path}' has structures without a cell; write them as extended XYZ with the cell of "
            "the calculation (`atoms.cell = [7.8, 7.8, 22.5]` in ASE)"
        )
    return frames


def add_results(frame: ase.Atoms, atoms: ase.Atoms, with_stress: bool) -> None:
    """Put energy, forces and stress of a calculation into a frame as labels, in place.

    The energy is the free energy where there is one, since the forces are its derivative.

    :param frame: gets ``REF_energy``, ``REF_forces`` and ``REF_stress`` where they are known.
    :param atoms: with the calculator ASE's reader has put there, or none.
    :param with_stress: whether the stress is a label, as in cells that are periodic.
    """
    results = {} if atoms.calc is None else atoms.calc.results
    energy = results.get("free_energy", results.get("energy"))
    if energy is not None:
        frame.info[KEYS[quantities.ENERGY]] = float(energy)
    if "forces" in results:
        frame.arrays[KEYS[quantities.FORCES]] = np.array(results["forces"])
    if "stress" in results and with_stress:
        frame.info[KEYS[quantities.STRESS]] = atoms.get_stress(voigt=False)
