"""The one order of Born effective charges in the files of a training: ``--becs_order``."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import ase

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_detection import DIPOLE_KEY, known_orders, resolve_order
from mace_smile.io.born_order import (
    CHOICES,
    FIELD_FIRST,
    KEY,
    ORDER_KEY,
    born_charges_of,
    field_first,
    has_born_charges,
)
from mace_smile.io.structure_files import read_structures

logger = logging.getLogger(__name__)

#: Weight of the tensors of a frame in its header.
WEIGHT_KEY = f"config_{quantities.BORN_EFFECTIVE_CHARGES}_weight"
#: Frames of a file that are tested at most; more are a sample.
MOST_FRAMES = 400


def order_of_files(
    paths: Sequence[str | Path],
    order: str = "auto",
    key: str = KEY,
    dipole_key: str = DIPOLE_KEY,
) -> str:
    """The order of the tensors in several files: :func:`order_of_frames` of what they hold.

    :param paths: of the files.
    :raises UserError: for files that cannot be read too.
    """
    frames = {str(path): read_structures(path) for path in paths}
    return order_of_frames(frames, order, key, dipole_key)


def order_of_frames(
    frames: Mapping[str, Sequence[ase.Atoms]],
    order: str = "auto",
    key: str = KEY,
    dipole_key: str = DIPOLE_KEY,
) -> str:
    """The order of the tensors in several files, which must be one.

    A file that does not tell by itself (periodic frames without dipoles) takes the order of the
    others; a file that contradicts them, or the given order, is refused. Frames without tensors are
    allowed everywhere, those of zero weight do not count.

    :param frames: of each file, by its name.
    :param order: ``auto``, or the order the user gives, which is then checked in each file.
    :param key: of the nine columns of the tensors.
    :param dipole_key: of dipoles in e A.
    :return: one of the two orders, for :func:`~mace_smile.io.born_order.field_first`.
    :raises UserError: where no file tells, and for files that contradict; it names the file.
    """
    if order not in CHOICES:
        raise UserError(f"`--becs_order` is '{order}' but must be one of {', '.join(CHOICES)}")
    labelled: dict[str, list[ase.Atoms]] = {}
    for path, of_file in frames.items():
        with_tensors = [atoms for atoms in of_file if counts(atoms, key)]
        _check_tensors(path, of_file, key)
        if with_tensors:
            labelled[path] = sample_frames(with_tensors)
            if len(labelled[path]) < len(with_tensors):
                text = "%s: the order of the indices of '%s' is tested on %d of its %d frames"
                logger.info(text, path, key, len(labelled[path]), len(with_tensors))
    every_frame = [atoms for of_file in frames.values() for atoms in of_file]
    if not labelled and any(has_born_charges(atoms, key) for atoms in every_frame):
        raise UserError(f"all frames with '{key}' have {WEIGHT_KEY}=0; give some another weight")
    if not labelled:
        raise UserError(
            f"no frame in {', '.join(frames)} has '{key}'; give the key of the Born "
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
    for path, of_file in labelled.items():
        try:
            resolve_order(of_file, order, key, dipole_key)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return order


def counts(atoms: ase.Atoms, key: str) -> bool:
    """Whether a frame has tensors, with a weight that is not zero."""
    return has_born_charges(atoms, key) and atoms.info.get(WEIGHT_KEY, 1.0) != 0


def _check_tensors(path: str, frames: Sequence[ase.Atoms], key: str) -> None:
    """Refuse tensors of another shape, or that are no numbers.

    :raises UserError: naming the frame.
    """
    for number, atoms in enumerate(frames):
        try:
            if has_born_charges(atoms, key):
                born_charges_of(atoms, key)
        except UserError as error:
            raise UserError(f"{path}, frame {number}: {error}") from error


def put_field_first(frames: Sequence[ase.Atoms], key: str, order: str) -> None:
    """Exchange the indices of the tensors of frames that have the other order, in place.

    :param frames: those without tensors stay as they are.
    :param key: of the nine columns of the tensors, which they keep.
    :param order: of all frames, from :func:`order_of_frames`.
    """
    if order == FIELD_FIRST:
        return
    for atoms in frames:
        if has_born_charges(atoms, key):
            atoms.arrays[key] = field_first(born_charges_of(atoms, key), order).reshape(-1, 9)
            atoms.info[ORDER_KEY] = FIELD_FIRST


def sample_frames(frames: list[ase.Atoms]) -> list[ase.Atoms]:
    """All frames, or pairs of neighbours spread over them: neighbours tell by their dipoles.

    :param frames: of one file, with tensors.
    :return: at most :data:`MOST_FRAMES`.
    """
    if len(frames) <= MOST_FRAMES:
        return frames
    n_pairs = MOST_FRAMES // 2
    starts = [(len(frames) - 2) * pair // (n_pairs - 1) for pair in range(n_pairs)]
    numbers = sorted({number for start in starts for number in (start, start + 1)})
    return [frames[number] for number in numbers]
