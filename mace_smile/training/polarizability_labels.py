"""Labels of polarizabilities: symmetric tensors of structures, and whether they train the head."""

from collections.abc import Sequence

import numpy as np

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.losses import TermWeights

#: Largest difference of two components that should be equal, by the largest component: finite
#: fields leave some.
ASYMMETRY = 0.02
#: Place of the six numbers xx yy zz yz xz xy in the tensor.
VOIGT = ((0, 5, 4), (5, 1, 3), (4, 3, 2))


def symmetric_tensor(label: np.ndarray) -> np.ndarray:
    """A label as the tensor it means, its small asymmetry taken away.

    :param label: six numbers xx yy zz yz xz xy, nine, or shape ``(3, 3)``, in e^2 A^2/eV.
    :return: shape ``(3, 3)``, in e^2 A^2/eV.
    :raises UserError: for a tensor that is not symmetric.
    """
    label = np.asarray(label, dtype=float)
    tensor = label[np.array(VOIGT)] if label.size == 6 else label.reshape(3, 3)
    difference, largest = np.abs(tensor - tensor.T).max(), np.abs(tensor).max()
    if difference > ASYMMETRY * largest:
        raise UserError(
            f"`{quantities.POLARIZABILITY}` is not symmetric: components that should be equal "
            f"differ by {difference:.3g}, which is more than {ASYMMETRY:g} of the largest, "
            f"{largest:.3g}; a polarizability is the second derivative of an energy, so look for "
            "another order of its numbers, or fields that were too weak or too strong"
        )
    return np.asarray(0.5 * (tensor + tensor.T))


def check_polarizability(options: SmileOptions, weights: Sequence[TermWeights]) -> None:
    """Refuse a head that nothing trains.

    :param options: of the model.
    :param weights: terms of the loss.
    :raises UserError: with the remedy.
    """
    if options.has_polarizability and not any(
        term.stage_one > 0 or term.stage_two > 0
        for term in weights
        if term.name == quantities.POLARIZABILITY
    ):
        raise UserError(
            "nothing trains the polarizability: --polarizability_weight is 0; give a weight above "
            "zero, or use --polarizability_head none"
        )
