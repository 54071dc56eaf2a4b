"""An electric field for any molecular dynamics of ASE, with the enthalpy followed along the way.

::

    from mace_smile.dynamics import FiniteField, exported_calculator

    field = FiniteField(exported_calculator("demo.pt"), [0.0, 0.0, 0.05])
    atoms.calc = field
    dynamics = VelocityVerlet(atoms, 0.5 * ase.units.fs)
    field.follow(dynamics)
    dynamics.run(1000)
    print(field.enthalpy + atoms.get_kinetic_energy())  # conserved
"""

from typing import Any, ClassVar

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.md import MolecularDynamics

from mace_smile import quantities
from mace_smile.dynamics.drives import OwnField, drive_of, is_second_order, starting_dipoles
from mace_smile.dynamics.path import PathPoint, dipole_change, work
from mace_smile.dynamics.sources import Response, source_of
from mace_smile.errors import UserError
from mace_smile.physics.displacements import displacements

#: Atoms that moved less have not moved (A): what wrapping a structure costs in rounding.
ROUNDING = 1e-9


class FiniteField(Calculator):
    """A calculator in a homogeneous macroscopic field, with the forces F0 + Z^T E.

    ``results["energy"]`` is U, the energy without the field, as in all engines, and the stress
    is that of U. ``results["free_energy"]``, in ASE the energy that goes with the forces, is the
    enthalpy U - W: in a static field U - E . Delta mu (- 1/2 E . Delta alpha E), with the change
    of the dipole since the start added up step by step. U - W + K is conserved at constant
    energy for any field: static, of time, or of constant displacement (there U - W is the
    internal energy, up to a constant).

    Evaluating a structure changes nothing that is followed: a step counts once, when the dynamics
    has made it, however often forces were asked for. One ``FiniteField`` follows one structure
    of fixed cell. Minimisers that compare energies must not be used, and ``follow`` refuses them.

    :param calculator: of the model: :func:`~mace_smile.dynamics.exported_calculator`, a
        ``SmileCalculator`` without a field, or any with ASE's ``born_effective_charges``.
    :param field: macroscopic field in V/A: three numbers, or a function of the time in fs that
        returns three, such as ``mace_smile.physics.driving_fields.FieldExpression``; or a
        ``ConstantDisplacement``; None where the exported model brings its field as the variant of
        its calculator. A field in vacuum E beside a slab is E / (1 + chi) along the normal.
    :param field_order: 1 leaves the polarizability out, 2 takes it in; None is 2 where the
        model has one. Constant displacement is of order 1, fields that are no variant of an
        exported model too.
    :param dipole: ``accumulated`` adds up Z; ``response`` takes the response dipole of the
        model, exact where Z is its derivative and no axis is periodic.
    :raises UserError: for a field or a calculator that cannot be used.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
        "charges",
        "dipole",
        "born_effective_charges",
    ]

    def __init__(
        self,
        calculator: Any,
        field: Any = None,
        field_order: int | None = None,
        dipole: str = "accumulated",
    ) -> None:
        super().__init__()
        if dipole not in ("accumulated", "response"):
            raise UserError(f"`dipole` is '{dipole}' but must be accumulated or response")
        self.source = source_of(calculator)
        self.drive = drive_of(field, self.source)
        self.is_second_order = is_second_order(self.drive, self.source, field_order)
        self.uses_response_dipole = dipole == "response"
        self.dynamics: MolecularDynamics | None = None
        self.step = 0
        self._last: PathPoint | None = None
        self._trial: PathPoint | None = None
        self._cell = np.zeros((3, 3))

    # What is followed

    @property
    def electric_field(self) -> np.ndarray:
        """Of the last step, shape ``(3,)``, in V/A."""
        return self.path.field.copy()

    @property
    def dipole_change(self) -> np.ndarray:
        """Change of the dipole since the start, at fixed electrons, shape ``(3,)``, in e A."""
        return self.path.dipole_change.copy()

    @property
    def work(self) -> float:
        """Work of the field since the start, in eV."""
        return self.path.work

    @property
    def enthalpy(self) -> float:
        """U - W of the last step, in eV."""
        return float(self._followed().atoms.get_potential_energy(force_consistent=True))

    @property
    def time(self) -> float:
        """Time of the last step, in fs."""
        return self._time(self.step)

    @property
    def path(self) -> PathPoint:
        """Where the path has come to.

        :raises UserError: when no dynamics is followed.
        """
        self._followed()
        assert self._last is not None
        return self._last

    def follow(self, dynamics: MolecularDynamics) -> None:
        """Follow a dynamics: its time is the field's, its steps add up to dipole and work.

        Call it once the calculator of the atoms is this one, before the run, and before
        observers that read what is followed are attached. For integrators that ask for forces
        at one new structure a step, as all of ASE's at constant volume do.

        :raises UserError: for a minimiser, or atoms with another calculator.
        """
        if not isinstance(dynamics, MolecularDynamics):
            raise UserError(
                f"{type(dynamics).__name__} is no molecular dynamics, and minimisers compare an "
                "energy without the field; use a damped dynamics, e.g. Langevin at 0 K"
            )
        if dynamics.atoms.calc is not self:
            raise UserError("set `atoms.calc` to the FiniteField before it follows the dynamics")
        if self.dynamics is not None:
            raise UserError("the FiniteField follows a dynamics already; make a new one")
        self.dynamics = dynamics
        self.step = dynamics.nsteps
        self._last = None
        self.reset()
        dynamics.atoms.get_forces()
        self._last = self._trial
        dynamics.insert_observer(self._keep_step, 0, 1)

    def resume(self, path: PathPoint) -> None:
        """Go on from a stored point; the dynamics has its step and positions already.

        :raises UserError: for another static field than before.
        """
        dynamics = self._followed()
        if not self.drive.changes:
            given = self.drive.field(dynamics.atoms, 0.0, path.dipole_change)
            if not np.array_equal(given, path.field):
                raise UserError(
                    f"the run was started in the field {path.field} and is resumed in {given}; "
                    "take the same, or begin a new run"
                )
        self._last, self.step = path, dynamics.nsteps
        self.reset()

    def _keep_step(self) -> None:
        """Take over the step that the dynamics has made."""
        dynamics = self._followed()
        if dynamics.nsteps != self.step and not self._has_moved(dynamics.atoms):
            self.step = dynamics.nsteps  # nothing moves, but time does
            self.reset()
        dynamics.atoms.get_forces()
        self._last, self.step = self._trial, dynamics.nsteps

    def _followed(self) -> MolecularDynamics:
        if self.dynamics is None:
            raise UserError("FiniteField follows no dynamics; call follow(dynamics) first")
        return self.dynamics

    def _time(self, step: int) -> float:
        """Time of a step in fs; zero before a dynamics is followed."""
        return 0.0 if self.dynamics is None else step * self.dynamics.dt / units.fs

    def _has_moved(self, atoms: ase.Atoms) -> bool:
        """Whether the structure is another than that of the last step, wrapped or not."""
        if self._last is None:
            return False
        moved = displacements(atoms.positions, self._last.positions, atoms.cell, atoms.pbc)
        return bool(np.abs(moved).max(initial=0.0) > ROUNDING)

    # ASE's interface

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's changes, and those that the calculator of the model watches besides."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if not changes and self.results:
            changes = self.source.calculator.check_state(atoms, tol=tol)
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Energy and forces in the field; called by ASE.

        :raises UserError: for another structure or cell than the one that is followed, or a field
            that changes along the way when no dynamics is followed.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        self._check_structure(atoms)
        has_moved = self._has_moved(atoms)
        if has_moved and self.drive.changes and self.dynamics is None:
            raise UserError(
                "this field changes from step to step; call follow(dynamics) before the run"
            )
        time = self._time(self.step + has_moved)
        known = self.drive.known_field(atoms, time)
        response = self.source.evaluate(atoms, known if self.is_second_order else None)
        self._trial = self._point(atoms, time, known, response)
        if self._last is None:
            self._last = self._trial
        forces = response.forces
        if not isinstance(self.drive, OwnField):
            forces = forces + np.einsum("iab,a->ib", response.born_charges, self._trial.field)
        if response.second_order_forces is not None:
            forces = forces + response.second_order_forces
        results = {
            **response.results,
            "energy": response.energy,
            "free_energy": response.energy - self._trial.work,
            "forces": forces,
            quantities.BORN_EFFECTIVE_CHARGES: response.born_charges,
        }
        known_names = self.implemented_properties
        self.results = {name: results[name] for name in results if name in known_names}

    def _check_structure(self, atoms: ase.Atoms) -> None:
        if self._last is None:
            self._cell = np.array(atoms.cell[:])
        elif len(atoms) != len(self._last.positions):
            raise UserError(
                f"FiniteField follows a structure of {len(self._last.positions)} atoms and was "
                f"asked for one of {len(atoms)}; make another one"
            )
        elif not np.array_equal(self._cell, atoms.cell[:]):
            raise UserError(
                "the cell has changed in a field, whose piezoelectric stress is not there; run at "
                "constant volume"
            )

    def _point(
        self, atoms: ase.Atoms, time: float, known: np.ndarray | None, response: Response
    ) -> PathPoint:
        """Where the path comes to with this structure; its start when there is none yet."""
        last = self._last
        if last is None:
            origin, reference = starting_dipoles(
                self.drive, self.source, self.uses_response_dipole, atoms, response
            )
            change = np.zeros(3)
        else:
            origin, reference = last.origin, last.reference
            if self.uses_response_dipole:
                assert response.response_dipole is not None
                change = response.response_dipole - reference
            else:
                moved = displacements(atoms.positions, last.positions, atoms.cell, atoms.pbc)
                change = dipole_change(last, moved, response.born_charges)
        field = self.drive.field(atoms, time, origin + change)
        alpha = response.polarizability
        return PathPoint(
            positions=atoms.get_positions(),
            born_charges=response.born_charges,
            field=field,
            polarizability=alpha,
            dipole_change=change,
            work=0.0 if last is None else work(last, change, field, alpha),
            origin=origin,
            reference=reference,
        )
