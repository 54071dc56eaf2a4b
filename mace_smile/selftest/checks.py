"""All checks by name, and their run over structures."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import ase
from tqdm import tqdm

from mace_smile.errors import UserError
from mace_smile.selftest.born import check_acoustic_sum, check_born_charges, check_field_forces
from mace_smile.selftest.derivatives import check_forces, check_stress
from mace_smile.selftest.dynamics import check_nve, check_nve_field
from mace_smile.selftest.finding import Finding
from mace_smile.selftest.labels import check_labels
from mace_smile.selftest.second_order import check_second_order
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject
from mace_smile.selftest.symmetries import (
    check_neighbours,
    check_permutation,
    check_rotation,
    check_supercell,
    check_translation,
    check_wrapping,
)

Check = Callable[[Subject, ase.Atoms, SelftestSettings], list[Finding]]

CHECKS: dict[str, Check] = {
    "forces": check_forces,
    "stress": check_stress,
    "born_charges": check_born_charges,
    "field_forces": check_field_forces,
    "second_order": check_second_order,
    "rotation": check_rotation,
    "permutation": check_permutation,
    "translation": check_translation,
    "wrapping": check_wrapping,
    "neighbours": check_neighbours,
    "supercell": check_supercell,
    "acoustic_sum": check_acoustic_sum,
    "labels": check_labels,
    "nve": check_nve,
    "nve_field": check_nve_field,
}
#: Checks of the first structure of each kind of boundary only.
DYNAMICS = ("nve", "nve_field")


def run_checks(
    subject: Subject,
    frames: Sequence[ase.Atoms],
    settings: SelftestSettings,
    names: Sequence[str],
    progress: bool = False,
) -> list[Finding]:
    """Run checks over structures.

    :param subject: the model under test.
    :param frames: without constraints and calculators that matter.
    :param names: of :data:`CHECKS`.
    :param progress: show a bar.
    :return: all findings, with the number of their structure.
    :raises UserError: for structures the model refuses.
    """
    plan: list[tuple[int, str]] = []
    boundaries: set[tuple[bool, ...]] = set()
    for number, atoms in enumerate(frames):
        boundary = tuple(atoms.pbc.tolist())
        is_first = boundary not in boundaries
        boundaries.add(boundary)
        plan += [(number, name) for name in names if is_first or name not in DYNAMICS]
    findings = []
    with tqdm(plan, unit="check", disable=not progress) as bar:
        for number, name in bar:
            bar.set_postfix_str(f"frame {number}, {name}")
            try:
                found = CHECKS[name](subject, frames[number], settings)
            except UserError as error:
                raise UserError(f"frame {number}, {name}: {error}") from error
            findings += [replace(finding, frame=number) for finding in found]
    return findings
