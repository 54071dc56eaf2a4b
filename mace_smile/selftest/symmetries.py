"""What must not depend on orientation, order, place, image and neighbour list."""

import dataclasses

import ase
import numpy as np
import torch

from mace_smile import quantities
from mace_smile.selftest.finding import Finding, skipped
from mace_smile.selftest.outputs import EXTENSIVE, compare_outputs, of_atoms, turned
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Batch, Subject
from mace_smile.selftest.tolerances import PHASE_SUPERCELL


def check_rotation(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> list[Finding]:
    """Cell and atoms turned at random: everything turns along."""
    matrix = np.random.default_rng(settings.seed).normal(size=(3, 3))
    rotation = np.linalg.qr(matrix)[0]
    rotation *= np.sign(np.linalg.det(rotation))
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ rotation.T)
    moved.positions = atoms.positions @ rotation.T
    expected = turned(subject.evaluate(atoms), rotation)
    mesh = subject.uses_mesh(len(atoms))
    return compare_outputs("rotation", subject.evaluate(moved), expected, subject.dtype, mesh)


def check_permutation(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """The atoms in another order."""
    order = np.random.default_rng(settings.seed).permutation(len(atoms))
    expected = of_atoms(subject.evaluate(atoms), order)
    found = subject.evaluate(atoms[order])
    return compare_outputs("permutation", found, expected, subject.dtype, False)


def check_translation(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """All atoms moved alike."""
    moved = atoms.copy()
    moved.positions += np.random.default_rng(settings.seed).uniform(0.3, 1.3, 3)
    options, findings = subject.options, []
    without: tuple[str, ...] = ()
    adds_up = not options.has_charges or options.total_charge_constraint == "exact"
    is_open = not subject.periodic_axes(atoms).all()
    if options.has_coupled_screening and is_open and not adds_up:
        without = (quantities.BORN_EFFECTIVE_CHARGES,)
        reason = "charges that need not add up have a dipole that depends on the origin"
        findings = [skipped("translation", "born effective charges", reason)]
    mesh = subject.uses_mesh(len(atoms))
    outputs = subject.evaluate(moved), subject.evaluate(atoms)
    return [
        *compare_outputs("translation", *outputs, subject.dtype, mesh, without),
        *findings,
    ]


def check_wrapping(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> list[Finding]:
    """Each atom stored in another image, at random, along periodic axes."""
    if not atoms.pbc.any():
        return [skipped("wrapping", "all", "no periodic axis")]
    images = np.random.default_rng(settings.seed).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    moved = atoms.copy()
    moved.positions += images @ atoms.cell.array
    outputs = subject.evaluate(moved), subject.evaluate(atoms)
    return compare_outputs("wrapping", *outputs, subject.dtype, False)


def check_neighbours(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """Neighbour lists in another order."""

    def shuffled(batch: Batch) -> Batch:
        generator = torch.Generator().manual_seed(settings.seed)
        for pairs, rows in (
            ("edge_index", ("shifts", "unit_shifts")),
            (quantities.COULOMB_EDGE_INDEX, (quantities.COULOMB_UNIT_SHIFTS,)),
        ):
            if pairs in batch:
                order = torch.randperm(batch[pairs].shape[1], generator=generator)
                order = order.to(subject.device)
                batch[pairs] = batch[pairs][:, order]
                for name in rows:
                    batch[name] = batch[name][order]
        return batch

    found = subject.evaluate(atoms, shuffled)
    expected = subject.evaluate(atoms)
    return compare_outputs("neighbours", found, expected, subject.dtype, False)


def check_supercell(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """The cell repeated twice along its periodic axes: the same of each atom."""
    axes = subject.periodic_axes(atoms) & atoms.pbc
    if not axes.any():
        return [skipped("supercell", "all", "no periodic axis")]
    n_cells = 2 ** int(axes.sum())
    n_atoms = n_cells * len(atoms)
    if n_atoms > settings.max_atoms:
        reason = f"the supercell has {n_atoms} atoms; raise --max_atoms"
        return [skipped("supercell", "all", reason)]
    counts = [2 if axis else 1 for axis in axes]
    supercell = subject.repeated(atoms, (counts[0], counts[1], counts[2]))
    expected = of_atoms(subject.evaluate(atoms), np.tile(np.arange(len(atoms)), n_cells))
    for name in EXTENSIVE:
        if name in expected:
            expected[name] = n_cells * expected[name]
    mesh = subject.uses_mesh(n_atoms)
    findings = compare_outputs(
        "supercell", subject.evaluate(supercell), expected, subject.dtype, mesh
    )
    return [_of_phases(subject, finding) for finding in findings]


def _of_phases(subject: Subject, finding: Finding) -> Finding:
    """What a supercell of a model with phases is allowed to deviate by."""
    options = subject.options
    is_approximate = (
        options.has_coupled_screening
        and options.has_charges
        and options.born_charge_method == "phase"
        and finding.quantity == "born effective charges"
    )
    if not is_approximate:
        return finding
    note = "phases are approximate in narrow cells"
    return dataclasses.replace(finding, tolerance=PHASE_SUPERCELL, note=note)
