"""Molecular dynamics at constant energy, with and without a field.

In a field the conserved energy is

.. math::

    H = U + K - E \\cdot \\mu - \\tfrac12 E \\cdot \\alpha E, \\quad
    \\mu(t) - \\mu(0) = \\sum_t \\sum_i Z_i \\, \\delta r_i

with the dipole followed from step to step by the mean Z of both ends (S3 eq. 11), and with the
dipole of the model itself where it is defined and Z is its derivative: coupled charges in open
structures. The last part of H is there where the model has a polarizability.
"""

import ase
import ase.units
import numpy as np
from ase.md.verlet import VelocityVerlet
from tqdm import tqdm

from mace_smile import quantities
from mace_smile.selftest.finding import Finding, skipped
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject
from mace_smile.selftest.tolerances import DRIFT


def check_nve(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> list[Finding]:
    """Drift of the energy without a field."""
    return [_drift(subject, atoms, settings, None)]


def check_nve_field(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """Drift of the enthalpy in a field."""
    if not subject.options.has_born_charges:
        reason = "the model has no Born effective charges"
        return [skipped("nve_field", "drift", reason)]
    return [_drift(subject, atoms, settings, settings.field)]


def _drift(
    subject: Subject,
    atoms: ase.Atoms,
    settings: SelftestSettings,
    field: tuple[float, float, float] | None,
) -> Finding:
    """Change of the conserved energy along a run, by its slope, in meV/atom."""
    check = "nve" if field is None else "nve_field"
    start = atoms.copy()
    start.set_constraint()
    start.calc = subject.calculator(field)
    _warm_up(start, settings)
    dynamics = VelocityVerlet(start, settings.timestep * ase.units.fs)
    work = _Work(subject, start, field)
    energies, kinetic = [], []
    for _ in tqdm(range(settings.steps), desc=check, unit="step", leave=False, disable=None):
        dynamics.run(1)
        kinetic.append(start.get_kinetic_energy())
        energies.append(start.get_potential_energy() + kinetic[-1] - work.follow(start))
    times = np.arange(settings.steps)
    # The fit needs all energies to be numbers.
    slope = np.polyfit(times, energies, 1)[0] if np.isfinite(energies).all() else np.inf
    per_atom = 1e3 / len(atoms)
    error = abs(float(slope)) * settings.steps * per_atom
    note = (
        f"{settings.steps} steps of {settings.timestep:g} fs, kinetic energy varies by "
        f"{np.ptp(kinetic) * per_atom:.3g} meV/atom"
    )
    if field is not None:
        note += f"; dipole {'of the model' if work.has_dipole else 'accumulated'}"
    return Finding(check, "drift", "meV/atom", error, DRIFT, note)


def _warm_up(atoms: ase.Atoms, settings: SelftestSettings) -> None:
    """Draw velocities of a temperature, in place; their sum of momenta is zero."""
    masses = atoms.get_masses()[:, None]
    drawn = np.random.default_rng(settings.seed).normal(size=(len(atoms), 3))
    velocities = drawn * np.sqrt(ase.units.kB * settings.temperature / masses)
    velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    atoms.set_velocities(velocities)


class _Work:
    """The work of a field since the start.

    :param atoms: the structure at the start, with its calculator.
    :param field: in V/A, or None.
    """

    def __init__(
        self, subject: Subject, atoms: ase.Atoms, field: tuple[float, float, float] | None
    ) -> None:
        options = subject.options
        self.field = None if field is None else np.array(field)
        self.has_dipole = (
            options.has_coupled_screening
            and options.acoustic_sum_rule == "none"
            and not subject.periodic_axes(atoms).any()
        )
        self.work, self.stored = 0.0, 0.0
        self.positions = atoms.get_positions()
        self.first, self.born = np.zeros(3), np.zeros((len(atoms), 3, 3))
        if self.field is not None:
            self.first, self.born = self._dipole(atoms), self._born_charges(atoms)
            self.stored = self._stored(atoms)

    def follow(self, atoms: ase.Atoms) -> float:
        """The work in eV once the atoms have made a step."""
        if self.field is None:
            return 0.0
        second_order = self._stored(atoms) - self.stored
        if self.has_dipole:
            return float(self.field @ (self._dipole(atoms) - self.first)) + second_order
        born, positions = self._born_charges(atoms), atoms.get_positions()
        mean, step = 0.5 * (born + self.born), positions - self.positions
        self.work += float(np.einsum("a,iab,ib->", self.field, mean, step))
        self.born, self.positions = born, positions
        return self.work + second_order

    def _stored(self, atoms: ase.Atoms) -> float:
        """Half of E . alpha E in eV; zero where the model has no polarizability."""
        atoms.get_forces()
        alpha = atoms.calc.outputs.get(quantities.POLARIZABILITY)
        if alpha is None or self.field is None:
            return 0.0
        return float(0.5 * self.field @ alpha[0] @ self.field)

    def _dipole(self, atoms: ase.Atoms) -> np.ndarray:
        """Response dipole of the model, shape ``(3,)``, in e A; zero where it is not used."""
        atoms.get_forces()
        if not self.has_dipole:
            return np.zeros(3)
        return np.asarray(atoms.calc.outputs[quantities.RESPONSE_DIPOLE][0], dtype=float)

    def _born_charges(self, atoms: ase.Atoms) -> np.ndarray:
        """Born charges of the model, shape ``(n_atoms, 3, 3)``, in e."""
        atoms.get_forces()
        return np.array(atoms.calc.outputs[quantities.BORN_EFFECTIVE_CHARGES], dtype=float)
