"""The restart file of a run: all that is needed to go on as if nothing had happened.

A NumPy archive: ``positions``, ``momenta`` (ASE's unit), ``cell``, ``numbers``, ``pbc``, the path
of a field, and ``run``, a JSON text with the state of the integrator and the mark of the
trajectory. It is complete whenever it exists.
"""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import ase
import numpy as np

from mace_smile.atomic_write import complete_or_absent
from mace_smile.dynamics.path import PathPoint
from mace_smile.errors import UserError

VERSION = 1
_PATH = "path_"


@dataclasses.dataclass(frozen=True)
class Restart:
    """A point of a run."""

    arrays: dict[str, np.ndarray]
    """Of the atoms: positions, momenta, cell, numbers, pbc."""
    integrator: dict[str, Any]
    """See :func:`~mace_smile.dynamics.integrator_state.integrator_state`."""
    mark: int | None
    """How long the trajectory was; None where none is written."""
    path: PathPoint | None
    """Of a field, None without."""


def write_restart(
    file: Path,
    atoms: ase.Atoms,
    integrator: dict[str, Any],
    mark: int | None,
    path: PathPoint | None,
) -> None:
    """Replace the restart file.

    :raises UserError: for positions or momenta that are no numbers; the old file stays.
    """
    momenta = atoms.get_momenta()
    if not (np.isfinite(atoms.positions).all() and np.isfinite(momenta).all()):
        raise UserError(
            f"positions or momenta are no numbers any more at step {integrator['step']}; '{file}' "
            "stays at an earlier step: go on from there with a shorter time step"
        )
    arrays: dict[str, Any] = {
        "positions": atoms.positions,
        "momenta": momenta,
        "cell": np.array(atoms.cell[:]),
        "numbers": atoms.numbers,
        "pbc": atoms.pbc,
    }
    if path is not None:
        for field in dataclasses.fields(path):
            arrays[_PATH + field.name] = np.asarray(getattr(path, field.name))
    run = {"version": VERSION, "integrator": integrator, "mark": mark}
    with complete_or_absent(file) as unfinished, unfinished.open("wb") as handle:
        np.savez(handle, run=np.array(json.dumps(run)), **arrays)


def read_restart(file: Path) -> Restart:
    """What a restart file holds.

    :raises UserError: for a file that is none.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        run = json.loads(str(arrays.pop("run")))
        version = run["version"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"'{file}' is no restart file of mace_smile ({error}); give another name, or move it "
            "away to begin a new run"
        ) from error
    if version != VERSION:
        raise UserError(
            f"'{file}' has format {version} but this version reads {VERSION}; resume with the "
            "version that wrote it"
        )
    parts = {
        name.removeprefix(_PATH): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(_PATH)
    }
    path = PathPoint(**{**parts, "work": float(parts["work"])}) if parts else None
    return Restart(arrays, run["integrator"], run["mark"], path)


def set_atoms(atoms: ase.Atoms, restart: Restart, file: Path) -> None:
    """Give atoms the positions, momenta and cell of a restart, constraints or not.

    :raises UserError: for other elements or periodic axes than those of the run.
    """
    for name in ("numbers", "pbc"):
        if not np.array_equal(restart.arrays[name], getattr(atoms, name)):
            what = "elements" if name == "numbers" else "periodic axes"
            raise UserError(
                f"'{file}' belongs to a structure with other {what}; give the structure that the "
                "run was started with"
            )
    atoms.set_cell(restart.arrays["cell"])
    atoms.set_positions(restart.arrays["positions"], apply_constraint=False)
    atoms.set_momenta(restart.arrays["momenta"], apply_constraint=False)
