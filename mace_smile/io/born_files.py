"""The one order of Born effective charges in the files of a training: ``--becs_order``."""

from collections.abc import Sequence
from pathlib import Path

import ase

from mace_smile.errors import UserError
from mace_smile.io.born_detection import DIPOLE_KEY, known_orders, resolve_order
from mace_smile.io.born_order import CHOICES, KEY, has_born_charges
from mace_smile.io.structure_files import read_structures


def order_of_files(
    paths: Sequence[str | Path],
    order: str = "auto",
    key: str = KEY,
    dipole_key: str = DIPOLE_KEY,
) -> str:
    """The order of the tensors in several files, which must be one.

    A file that does not tell by itself (periodic frames without dipoles) takes the order of the
    others; a file that contradicts them, or the given order, is refused. Frames without tensors are
    allowed everywhere.

    :param paths: of the files.
    :param order: ``auto``, or the order the user gives, which is then checked in each file.
    :param key: of the nine columns of the tensors.
    :param dipole_key: of dipoles in e A.
    :return: one of the two orders, for :func:`~mace_smile.io.born_order.field_first`.
    :raises UserError: where no file tells, and for files that contradict; it names the file.
    """
    if order not in CHOICES:
        raise UserError(f"`--becs_order` is '{order}' but must be one of {', '.join(CHOICES)}")
    labelled: dict[str, list[ase.Atoms]] = {}
    for path in paths:
        with_tensors = [atoms for atoms in read_structures(path) if has_born_charges(atoms, key)]
        if with_tensors:
            labelled[str(path)] = with_tensors
    if not labelled:
        raise UserError(
            f"no frame in {', '.join(map(str, paths))} has '{key}'; give the key of the Born "
            "effective charges as `--becs_key`"
        )
    if order == "auto":
        told = {path: known_orders(frames, key, dipole_key)[0] for path, frames in labelled.items()}
        known = set().union(*told.values())
        if len(known) > 1:
            shown = ", ".join(
                f"{path}: {' and '.join(sorted(o)) or '?'}" for path, o in told.items()
            )
            raise UserError(
                f"the files have '{key}' in two orders ({shown}); put them into one by "
                "`mace_smile_convert_born_charges`"
            )
        every_frame = [atoms for frames in labelled.values() for atoms in frames]
        return known.pop() if known else resolve_order(every_frame, order, key, dipole_key)[0]
    for path, frames in labelled.items():
        try:
            resolve_order(frames, order, key, dipole_key)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return order
