"""Groups of frames that stay together, and folds of a cross-validation that respect them."""

import re
from collections.abc import Sequence

import ase
import numpy as np

from mace_smile.errors import UserError

#: Folds without `--folds`, if there are as many groups.
DEFAULT_FOLDS = 10


def geometry_names(frames: Sequence[ase.Atoms]) -> list[str]:
    """A name for each frame, equal for frames of one geometry (to 1e-6 A)."""
    names: dict[bytes, str] = {}
    result = []
    for atoms in frames:
        places = np.concatenate([atoms.positions, np.array(atoms.cell)])
        key = atoms.numbers.tobytes() + np.round(places / 1e-6).astype(np.int64).tobytes()
        result.append(names.setdefault(key, f"geometry {len(names)}"))
    return result


def group_names(frames: Sequence[ase.Atoms], key: str | None, pattern: str | None) -> list[str]:
    """The group of each frame.

    :param key: entry of ``atoms.info`` that names it; None takes equal positions.
    :param pattern: regular expression; its first parenthesis, or all that matches, is the
        group. None takes the whole value.
    :raises UserError: for a frame without the entry, or whose value does not match.
    """
    if key is None:
        return geometry_names(frames)
    names = []
    for number, atoms in enumerate(frames):
        if key not in atoms.info:
            raise UserError(
                f"frame {number} ({atoms.symbols}) has no '{key}' (--group_key); it has "
                f"{', '.join(sorted(atoms.info)) or 'no keys'}"
            )
        name = str(atoms.info[key])
        if pattern is not None:
            match = re.search(pattern, name)
            if match is None:
                raise UserError(
                    f"'{key}' of frame {number} is '{name}', which --group_pattern '{pattern}' "
                    "does not match"
                )
            name = match.group(1) if match.groups() else match.group(0)
        names.append(name)
    return names


def assign_folds(groups: Sequence[str], n_folds: int | None) -> list[int]:
    """The fold of each frame: whole groups, the largest first, each to the smallest fold.

    :param groups: of the frames.
    :param n_folds: None takes one fold for each group, at most ``DEFAULT_FOLDS``.
    :raises UserError: when there are fewer groups than folds.
    """
    sizes = {name: groups.count(name) for name in dict.fromkeys(groups)}
    n_folds = min(len(sizes), DEFAULT_FOLDS) if n_folds is None else n_folds
    if len(sizes) < max(n_folds, 2):
        raise UserError(
            f"there are {len(sizes)} groups of frames but --folds {max(n_folds, 2)} needs as many, "
            "since frames of a group stay together; use fewer folds, add frames, or choose other "
            "groups with --group_key"
        )
    loads = [0] * n_folds
    fold_of: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        fold = loads.index(min(loads))
        fold_of[name] = fold
        loads[fold] += sizes[name]
    return [fold_of[name] for name in groups]
