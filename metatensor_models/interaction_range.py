"""How far the outputs of an atom reach, as capabilities declare it to engines."""

import math


def interaction_range(is_local: bool, receptive_field: float, has_derivatives: bool) -> float:
    """Range in A within which engines must hand over ghost atoms; infinite where none suffices.

    :param is_local: whether no output of an atom depends on all others.
    :param receptive_field: cutoff times the number of layers, in A.
    :param has_derivatives: whether an output is a derivative of charges or polarizabilities of
        neighbours, which reach as far again as these.
    """
    if not is_local:
        return math.inf
    return 2.0 * receptive_field if has_derivatives else receptive_field
