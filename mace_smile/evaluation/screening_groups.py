"""Elements and classes of frames that a factor is fitted to, one by one, as a diagnosis."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from mace_smile.errors import UserError
from mace_smile.evaluation.screening_labels import LabelledFrame
from mace_smile.model.options import SmileOptions
from mace_smile.physics.boundaries import model_axes

#: Numbers of atoms that get a row each; more go into ranges of a factor of two.
MOST_SIZES = 10
BOUNDARY_NAMES = ("open", "one periodic axis", "slab", "periodic")


def component_groups(
    frames: Sequence[LabelledFrame], options: SmileOptions, class_key: str | None = None
) -> dict[str, np.ndarray]:
    """Masks over the components of all frames, by the name of the group.

    :param frames: with labels.
    :param options: of the model, for its boundary.
    :param class_key: entry of ``atoms.info`` that names classes, in place of the number of atoms.
    :return: each element; then each boundary, file, and class or size, where there are several.
    :raises UserError: for a key that no frame has.
    """
    symbols = np.concatenate([frame.atoms.get_chemical_symbols() for frame in frames])
    numbers = np.concatenate([frame.atoms.numbers for frame in frames])
    groups = {}
    for symbol in dict.fromkeys(symbols[np.argsort(-numbers, kind="stable")]):
        groups[str(symbol)] = np.repeat(symbols == symbol, 9)
    boundaries = [_boundary(frame, options) for frame in frames]
    lists = [boundaries, [frame.file for frame in frames]]
    lists.append(_sizes(frames) if class_key is None else _classes(frames, class_key))
    n_components = [frame.labels.size for frame in frames]
    for names in lists:
        distinct = list(dict.fromkeys(names))
        for name in distinct if len(distinct) > 1 or names is boundaries else ():
            groups[name] = np.repeat([other == name for other in names], n_components)
    return groups


def _boundary(frame: LabelledFrame, options: SmileOptions) -> str:
    """``open``, ``slab`` or ``periodic`` as the model sees the structure, which may refuse it."""
    axes = model_axes(torch.tensor(frame.atoms.pbc), options.boundary, options.slab_axis)
    return BOUNDARY_NAMES[int(axes.sum())]


def _sizes(frames: Sequence[LabelledFrame]) -> list[str]:
    """A class for each frame: its number of atoms, or a range of a factor of two."""
    sizes = [len(frame.atoms) for frame in frames]
    if len(set(sizes)) <= MOST_SIZES:
        names = {size: f"{size} atoms" for size in sorted(set(sizes))}
    else:
        names = {}
        for size in sorted(set(sizes)):
            first = 2 ** int(math.log2(size))
            names[size] = f"{first} to {2 * first - 1} atoms"
    return [names[size] for size in sizes]


def _classes(frames: Sequence[LabelledFrame], key: str) -> list[str]:
    """A class for each frame, named by its header.

    :raises UserError: for a key that no frame has.
    """
    if not any(key in frame.atoms.info for frame in frames):
        raise UserError(
            f"no frame with Born charges has the key '{key}' (--class_key) in its header; give a "
            "key of the headers, or leave it out to have classes by the number of atoms"
        )
    return [f"{key}={frame.atoms.info.get(key, '(none)')}" for frame in frames]
