"""Runs that may be killed at any moment and go on, with nothing lost and nothing doubled.

::

    run = ResumableRun(dynamics, "film.restart", trajectory="film.extxyz", field=field)
    run.run(40000)

The same script starts the run and resumes it: where ``film.restart`` exists, atoms, integrator,
random numbers and field go back to it, and the trajectory is cut back to it. What follows is then,
bit by bit, what would have followed without the break, as long as the calculator gives the same
forces for the same positions.
"""

from pathlib import Path

import ase
import numpy as np
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.md import MolecularDynamics

from mace_smile.dynamics.finite_field import FiniteField
from mace_smile.dynamics.integrator_state import integrator_state, set_integrator_state
from mace_smile.dynamics.restart_file import read_restart, set_atoms, write_restart
from mace_smile.dynamics.trajectories import trajectory_of
from mace_smile.errors import UserError

#: What a frame keeps of a calculator's results.
KEPT = ("energy", "free_energy", "forces")


class ResumableRun:
    """A run with a restart file.

    Frames hold momenta, energy and forces, and in ``info`` the ``step``, the ``time`` in fs and,
    with a field, ``electric_field`` (V/A), ``dipole_change`` (e A) and ``enthalpy`` (eV). Files
    of other observers are not cut back.

    :param dynamics: with its atoms, their calculator and velocities, at step 0. With a field,
        ``field.follow(dynamics)`` comes first.
    :param restart: name of the restart file, written at the start, at the end, and every
        ``restart_stride`` steps.
    :param trajectory: name of the trajectory, ``.extxyz``, ``.xyz`` or ``.traj``; None for none.
    :param stride: steps between frames.
    :param restart_stride: steps between restarts.
    :param field: the field that follows the dynamics.
    :raises UserError: for files of another run, or an integrator that cannot be resumed.
    """

    def __init__(
        self,
        dynamics: MolecularDynamics,
        restart: str | Path,
        trajectory: str | Path | None = None,
        stride: int = 10,
        restart_stride: int = 100,
        field: FiniteField | None = None,
    ) -> None:
        for name, value in (("stride", stride), ("restart_stride", restart_stride)):
            if value < 1:
                raise UserError(f"`{name}` is {value} but must be at least 1")
        if field is None and isinstance(dynamics.atoms.calc, FiniteField):
            field = dynamics.atoms.calc
        if field is not None and field.dynamics is not dynamics:
            raise UserError("call field.follow(dynamics) before the ResumableRun is made")
        self.dynamics, self.field = dynamics, field
        self.atoms: ase.Atoms = dynamics.atoms
        self.restart = Path(restart)
        self.trajectory = None if trajectory is None else trajectory_of(trajectory)
        if self.restart.exists():
            self._resume()
        else:
            self._begin(trajectory)
        if self.trajectory is not None:
            dynamics.attach(self._write_frame, stride)
        dynamics.attach(self._write_restart, restart_stride)

    def run(self, steps: int) -> None:
        """Go on until the run has made so many steps in all; nothing where it has."""
        if steps > self.dynamics.nsteps:
            self.dynamics.run(steps - self.dynamics.nsteps)
            self._write_restart()

    def _begin(self, trajectory: str | Path | None) -> None:
        """The restart file of step 0, before anything else is written."""
        if trajectory is not None and Path(trajectory).exists():
            raise UserError(
                f"the trajectory '{trajectory}' exists, but not the restart file '{self.restart}'; "
                "move it away to begin a new run"
            )
        if self.dynamics.nsteps:
            raise UserError(
                f"the dynamics has made {self.dynamics.nsteps} steps already; make the "
                "ResumableRun before it runs"
            )
        path = None if self.field is None else self.field.path
        mark = None if self.trajectory is None else 0
        write_restart(self.restart, self.atoms, integrator_state(self.dynamics), mark, path)

    def _resume(self) -> None:
        """Go back to the restart file."""
        stored = read_restart(self.restart)
        set_atoms(self.atoms, stored, self.restart)
        set_integrator_state(self.dynamics, stored.integrator)
        for name, wanted, given in (
            ("a trajectory", stored.mark, self.trajectory),
            ("a field", stored.path, self.field),
        ):
            if (wanted is None) != (given is None):
                wrote, has = ("without", "with") if wanted is None else ("with", "without")
                raise UserError(
                    f"'{self.restart}' was written {wrote} {name} and is resumed {has}; take the "
                    "same script, or begin a new run"
                )
        if self.trajectory is not None:
            assert stored.mark is not None
            self.trajectory.cut(stored.mark)
        if self.field is not None:
            assert stored.path is not None
            self.field.resume(stored.path)

    def _write_restart(self) -> None:
        if self.dynamics.nsteps == 0:  # ASE writes frame 0 whenever it starts at step 0
            return
        path = None if self.field is None else self.field.path
        mark = None if self.trajectory is None else self.trajectory.mark()
        write_restart(self.restart, self.atoms, integrator_state(self.dynamics), mark, path)

    def _write_frame(self) -> None:
        assert self.trajectory is not None
        frame = self.atoms.copy()
        results = self.atoms.calc.results
        frame.calc = SinglePointCalculator(
            frame, **{name: np.copy(results[name]) for name in KEPT if name in results}
        )
        frame.info["step"] = self.dynamics.nsteps
        frame.info["time"] = self.dynamics.get_time() / units.fs
        if self.field is not None:
            frame.info["electric_field"] = self.field.electric_field
            frame.info["dipole_change"] = self.field.dipole_change
            frame.info["enthalpy"] = self.field.enthalpy
        self.trajectory.write(frame)
