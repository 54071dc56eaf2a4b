"""What an exported model does at each step of LAMMPS: forces, field, work, per-atom arrays.

The work of the field, whose sum over a run makes the enthalpy that is conserved,

.. math::

    W = \\int E \\cdot d\\mu, \\quad d\\mu_a = \\sum_{ib} Z_{iab}\\, dr_{ib}, \\quad H = K + U - W,

is added up by the trapezoid rule over the displacements of the atoms from step to step; a field
of second order adds :math:`\\tfrac12 E \\cdot \\Delta\\alpha E`.
"""

from collections.abc import Sequence

import numpy as np
from ase.cell import Cell
from lammps import lammps

from mace_smile import quantities
from mace_smile.physics.displacements import displacements
from metatensor_models.evaluator import Evaluation, Evaluator, ModelFailure
from metatensor_models.lammps.arrays import WORK, AtomArray, read, write
from metatensor_models.lammps.field import AppliedField

FIX_ID = "mace_smile"
#: Entries of the fix's vector: the field (3), the work (1), the dipole (3).
VECTOR_LENGTH = 7
FEMTOSECONDS = 1000.0
"""fs in one ps, the time unit of ``units metal``."""
MINIMIZATION = 2
"""What LAMMPS' library says during a minimisation."""

BORN = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
DIPOLE = quantities.BY_NAME[quantities.RESPONSE_DIPOLE].metatomic
POLARIZABILITY = quantities.BY_NAME[quantities.POLARIZABILITY].metatomic


class ModelFix:
    """A model attached to a LAMMPS, and what it remembers from one step to the next.

    :param evaluator: the model.
    :param numbers: atomic number of each LAMMPS type, the first entry unused.
    :param field: what acts on the atoms; None is no field.
    :param arrays: per-atom arrays to fill; they exist.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        numbers: np.ndarray,
        field: AppliedField | None,
        arrays: Sequence[AtomArray],
    ) -> None:
        self.evaluator = evaluator
        self.numbers = numbers
        self.field = field
        self.arrays = list(arrays)
        wanted = [array.output for array in self.arrays]
        if DIPOLE in evaluator.capabilities.outputs:
            wanted.append(DIPOLE)
        if field is not None and field.is_known:
            wanted.append(BORN)
            if field.settings.order == 2:
                wanted.append(POLARIZABILITY)
        evaluator.ask_for(wanted)
        self.ids = np.zeros(0, dtype=int)
        self.cell = np.zeros((3, 3))
        # Of the step before, for the work: positions, forces of the field, polarizability.
        self.positions = np.zeros((0, 3))
        self.field_forces = np.zeros((0, 3))
        self.polarizability = np.zeros((3, 3))

    def step(
        self, lmp: lammps, tags: np.ndarray, positions: np.ndarray, forces: np.ndarray
    ) -> None:
        """One step: hands LAMMPS energy, forces, virial, the vector and the arrays.

        :param tags: id of each atom, shape ``(n_atoms,)``.
        :param positions: shape ``(n_atoms, 3)``, in A.
        :param forces: written to, shape ``(n_atoms, 3)``, in eV/A.
        :raises ModelFailure: when atoms have come or gone, when the model refuses the structure,
            and for a field in a minimisation or in a box that changes.
        """
        order = np.argsort(tags)  # ids keep the order of the atoms
        cell, pbc = cell_and_pbc(lmp)
        self._check(lmp, tags[order], cell, pbc)
        types = lmp.numpy.extract_atom("type")[: len(tags)].reshape(-1)
        sorted_positions = positions[order]
        result = self.evaluator.evaluate(self.numbers[types[order]], sorted_positions, cell, pbc)
        total, vector = result.forces, np.zeros(3)
        if self.field is not None:
            vector = self.field.vector_at(time_of(lmp))
            if self.field.is_known:
                of_field = self.field.forces(vector, result.extras[BORN], cell, pbc)
                if not self.field.is_in_model:
                    total = total + of_field
                self._add_work(lmp, order, vector, of_field, sorted_positions, result, cell, pbc)
        forces[order] = total
        lmp.fix_external_set_energy_global(FIX_ID, result.energy)
        virial = result.virial
        lmp.fix_external_set_virial_global(
            FIX_ID,
            [virial[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))],
        )
        for array in self.arrays:
            write(lmp, array, order, result.extras[array.output])
        dipole = result.extras.get(DIPOLE, np.full(3, np.nan))
        for index, value in enumerate([*vector, self._work(lmp, order), *dipole], start=1):
            lmp.fix_external_set_vector(FIX_ID, index, float(value))
        self.positions = sorted_positions

    def _check(self, lmp: lammps, ids: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        """Refuse what a model, or a field, cannot follow."""
        if len(self.ids) == 0:
            self.ids, self.cell = ids.copy(), cell
        if not np.array_equal(self.ids, ids):
            raise ModelFailure(
                f"LAMMPS has {len(ids)} atoms where the model was attached to {len(self.ids)}, or "
                "others (lost, added, deleted or renumbered); look for lost atoms, and after a "
                "change that you want attach the model again"
            )
        if self.field is None:
            return
        if lmp.lib.lammps_is_running(lmp.lmp) == MINIMIZATION:
            raise ModelFailure(
                "a minimiser compares energies, and the energy does not contain the field; "
                "minimise without the field, or relax with damped dynamics (fix viscous)"
            )
        if not np.array_equal(self.cell[pbc], cell[pbc]):
            raise ModelFailure(
                "the box changes while a field acts, but the stress lacks the part of the field "
                "(piezoelectric, electrostrictive); equilibrate the box without the field, then "
                "attach the model with it at constant volume"
            )

    def _add_work(
        self,
        lmp: lammps,
        order: np.ndarray,
        vector: np.ndarray,
        field_forces: np.ndarray,
        positions: np.ndarray,
        result: Evaluation,
        cell: np.ndarray,
        pbc: np.ndarray,
    ) -> None:
        """Add the work since the step before to each atom's share."""
        polarizability = result.extras.get(POLARIZABILITY, np.zeros((3, 3)))
        if len(self.positions) > 0:
            moved = displacements(positions, self.positions, Cell(cell), pbc)
            work = 0.5 * ((self.field_forces + field_forces) * moved).sum(axis=1)
            change = polarizability - self.polarizability
            work += 0.5 * vector @ change @ vector / len(order)
            write(lmp, WORK, order, read(lmp, WORK, order) + work)
        self.field_forces, self.polarizability = field_forces, polarizability

    def _work(self, lmp: lammps, order: np.ndarray) -> float:
        """Work of the field since the start, in eV; not a number for a field nobody knows."""
        if self.field is None:
            return 0.0
        return float(read(lmp, WORK, order).sum()) if self.field.is_known else np.nan


def time_of(lmp: lammps) -> float:
    """Time of the simulation in fs, that of LAMMPS' thermo keyword ``time``."""
    steps = lmp.extract_global("ntimestep") - lmp.extract_global("atimestep")
    return FEMTOSECONDS * float(lmp.extract_global("atime") + steps * lmp.extract_global("dt"))


def cell_and_pbc(lmp: lammps) -> tuple[np.ndarray, np.ndarray]:
    """Cell vectors in rows, ``(3, 3)`` in A, and periodic axes, ``(3,)``."""
    low, high, xy, yz, xz, periodicity, _ = lmp.extract_box()
    cell = np.diag(np.array(high) - np.array(low))
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    return cell, np.array(periodicity, dtype=bool)
