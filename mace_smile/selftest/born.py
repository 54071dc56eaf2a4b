"""Born effective charges, the forces of a field, and the acoustic sum rule."""

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.selftest.differences import sample_atoms
from mace_smile.selftest.dipole_differences import dipole_derivative, wide_counts
from mace_smile.selftest.finding import Finding, compare, skipped
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject
from mace_smile.selftest.tolerances import DERIVATIVE, SYMMETRY, tolerance

BORN = quantities.BORN_EFFECTIVE_CHARGES
NO_BORN_CHARGES = "the model has no Born effective charges"
UNCOUPLED = "a readout of their own, no derivative: compare with labels by mace_smile_eval_configs"


def why_not(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> str | None:
    """Why Born charges are not compared with differences of the dipole; None: they are."""
    if not subject.options.has_born_charges:
        return NO_BORN_CHARGES
    if not subject.options.has_coupled_screening:
        return UNCOUPLED
    n_atoms = len(atoms) * int(np.prod(wide_counts(subject, atoms)))
    if n_atoms > settings.max_atoms:
        return f"needs a supercell of {n_atoms} atoms; raise --max_atoms"
    return None


def differences(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> np.ndarray:
    """Derivatives of the dipole by some atoms, shape ``(n_samples, 3, 3)``, in e.

    Where the model imposes the acoustic sum rule, so do these. They are costly, and computed once
    for both checks that need them.
    """
    if subject.differences is not None and subject.differences[0] is atoms:
        return subject.differences[1]
    chosen = sample_atoms(len(atoms), settings.samples, settings.seed)
    columns = [
        [dipole_derivative(subject, atoms, int(atom), axis) for axis in range(3)] for atom in chosen
    ]
    born = np.array(columns).transpose(0, 2, 1)  # [sample, a, b]
    if subject.options.acoustic_sum_rule == "subtract":
        residual = subject.reference.evaluate(atoms)[quantities.ACOUSTIC_RESIDUAL]
        born = born - residual / len(atoms)
    subject.differences = (atoms, born)
    return born


def check_born_charges(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """Born charges of some atoms against differences of the dipole."""
    name, quantity = "born_charges", "finite differences"
    reason = why_not(subject, atoms, settings)
    if reason is not None:
        return [skipped(name, quantity, reason)]
    chosen = sample_atoms(len(atoms), settings.samples, settings.seed)
    found = subject.evaluate(atoms)[BORN][chosen]
    expected = differences(subject, atoms, settings)
    allowed = tolerance(DERIVATIVE, subject.dtype, BORN)
    note = "atoms " + ", ".join(map(str, chosen))
    return [compare(name, quantity, "e", found, expected, allowed, note)]


def check_field_forces(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """What a field adds to the calculator's forces, against Z^T E and the dipole.

    To first order: for the second there is a check of its own.
    """
    name = "field_forces"
    if not subject.options.has_born_charges:
        return [skipped(name, "Z^T E", NO_BORN_CHARGES)]
    allowed = tolerance(DERIVATIVE, subject.dtype, BORN)
    born = subject.evaluate(atoms)[BORN]
    without = _forces(subject, atoms, None)
    changes = []
    for axis in range(3):
        field = np.zeros(3)
        field[axis] = 1.0
        changes.append(_forces(subject, atoms, (field[0], field[1], field[2])) - without)
    found = np.stack(changes, axis=1)  # [atom, a, b]
    note = "dF/dE of the calculator"
    findings = [compare(name, "Z^T E", "e", found, born, allowed, note)]
    reason = why_not(subject, atoms, settings)
    if reason is not None:
        return [*findings, skipped(name, "finite differences", reason)]
    chosen = sample_atoms(len(atoms), settings.samples, settings.seed)
    expected = differences(subject, atoms, settings)
    return [
        *findings,
        compare(name, "finite differences", "e", found[chosen], expected, allowed, note),
    ]


def _forces(
    subject: Subject, atoms: ase.Atoms, field: tuple[float, float, float] | None
) -> np.ndarray:
    """Forces of the calculator in a field, shape ``(n_atoms, 3)``, in eV/A."""
    calculator = subject.calculator(field, order=1)
    calculator.calculate(atoms.copy())
    return np.asarray(calculator.results["forces"])


def check_acoustic_sum(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """The sum of all Born charges less the total charge, mean over atoms."""
    name, quantity = "acoustic_sum", "mean of Z - Q/N"
    options = subject.options
    if not options.has_born_charges:
        return [skipped(name, quantity, NO_BORN_CHARGES)]
    born = subject.evaluate(atoms)[BORN]
    total = float(atoms.info.get(options.total_charge_key, 0.0) or 0.0)
    mean = born.mean(axis=0) - total / len(atoms) * np.eye(3)
    is_open = not subject.periodic_axes(atoms).any()
    adds_up = not options.has_charges or options.total_charge_constraint == "exact"
    if options.acoustic_sum_rule == "subtract":
        allowed, note = tolerance(SYMMETRY, subject.dtype, BORN), "imposed"
    elif options.has_coupled_screening and is_open and adds_up:
        allowed, note = tolerance(SYMMETRY, subject.dtype, BORN), "follows from the total charge"
    else:
        allowed, note = settings.acoustic_tolerance, "as good as the model: --acoustic_tolerance"
    return [compare(name, quantity, "e", mean, np.zeros((3, 3)), allowed, note)]
