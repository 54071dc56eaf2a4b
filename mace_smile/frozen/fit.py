"""Heads on frozen features: built, fitted to some frames, and their errors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from mace.modules import ScaleShiftMACE
from mace.tools.torch_tools import default_dtype

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.frozen.frames import FrozenFrames, predict
from mace_smile.frozen.gradient_descent import fit_by_descent
from mace_smile.frozen.least_squares import Rows, compute_rows, fit_least_squares
from mace_smile.frozen.parameters import choose_parameters
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.electrostatics_checks import as_flags
from mace_smile.training.losses import TERMS, Term, TermWeights, macro_dipole_errors


@dataclass(frozen=True)
class FitSettings:
    """How heads are fitted."""

    l2_dipoles: float = 1e-3
    """Penalty on bond dipoles, by the number of labels."""
    l2_features: float | None = None
    """Penalty on readouts of node features, by the number of labels; None fits them only where
    charges are labels, with ``l2_labelled``."""
    l2_labelled: float = 1e-3
    """The penalty where charges are labels and none is given."""
    max_iterations: int = 500
    """Most steps of the optimizer."""


class HeadFitter:
    """Fits the heads of one model to any of the frames, always from the same start.

    :param backbone: frozen, in the precision of the features.
    :param options: of the model.
    :param frames: with features of this backbone.
    :param weights: terms of the loss; only their ratios matter.
    :param settings: of the fit.
    :param seed: of the initial weights of readouts.
    """

    def __init__(
        self,
        backbone: ScaleShiftMACE,
        options: SmileOptions,
        frames: FrozenFrames,
        weights: Sequence[TermWeights],
        settings: FitSettings,
        seed: int,
    ) -> None:
        self.frames = frames
        self.terms = normalised_terms(weights, atoms_by_divisor(frames))
        self.settings = settings
        self.has_labelled_atoms = any(term.name == quantities.CHARGES for term in weights)
        l2_features = settings.l2_features
        if l2_features is None and self.has_labelled_atoms:
            l2_features = settings.l2_labelled
        torch.manual_seed(seed)
        with default_dtype(frames.node_feats[0].dtype):
            try:
                self.model = SmileMACE(backbone, options)
            except ValueError as error:
                raise as_flags(error) from error
        self.model.to(frames.node_feats[0].dtype)
        self.fitted = choose_parameters(self.model, settings.l2_dipoles, l2_features)
        self._rows: Rows | None = None

    def fit(self, numbers: Sequence[int]) -> SmileMACE:
        """The model, with its heads fitted to some frames.

        :param numbers: of the frames.
        """
        self.fitted.assign(self.fitted.start)
        common = (self.model, self.frames, numbers, self.terms, self.fitted)
        if self.has_labelled_atoms:
            fit_by_descent(*common, self.settings.max_iterations)
        else:
            if self._rows is None:
                every = range(len(self.frames))
                self._rows = compute_rows(self.model, self.frames, every, self.terms, self.fitted)
            fit_least_squares(*common, self.settings.max_iterations, self._rows)
        return self.model


def atoms_by_divisor(frames: FrozenFrames) -> float:
    """How many times larger the dipole term is than with ``--macro_dipole_norm per_atom``.

    :return: mean of the number of atoms over the divisor of squared dipole errors, over the
        labelled axes of all frames; 1 without labels.
    """
    batch, _ = frames.together
    n_labels = (batch.dipole_weight.view(-1, 3) > 0).sum(dim=1)  # (n_frames,)
    ratios = (batch.ptr[1:] - batch.ptr[:-1]) / batch[quantities.DIPOLE_DIVISOR].view(-1)
    return float((n_labels * ratios).sum() / n_labels.sum()) if bool(n_labels.any()) else 1.0


def normalised_terms(weights: Sequence[TermWeights], dipole_size: float) -> list[Term]:
    """Terms of the loss, the largest of size 1, so that penalties mean the same for all.

    :param weights: of the terms.
    :param dipole_size: of the dipole term with weight 1, from :func:`atoms_by_divisor`.
    :raises UserError: when all weights are zero.
    """
    sizes = {quantities.MACRO_DIPOLE: dipole_size}
    largest = max((term.stage_one * sizes.get(term.name, 1.0) for term in weights), default=0.0)
    if largest == 0.0:
        raise UserError(
            "nothing trains the charges: no label of dipoles or charges has a weight; give "
            "--macro_dipole_weight or --charges_weight"
        )
    return [TERMS[term.name](term.stage_one / largest) for term in weights]


def dipole_errors(
    model: SmileMACE, frames: FrozenFrames, numbers: Sequence[int]
) -> list[tuple[int, int, float]]:
    """Errors of the macro dipole where it is a label: frame, Cartesian axis, error in e A."""
    batch, node_feats = frames.together
    with torch.no_grad():
        values, weights = macro_dipole_errors(batch, predict(model, batch, node_feats))
    return [
        (number, axis, float(values[number, axis]))
        for number in numbers
        for axis in range(3)
        if weights[number, axis] > 0
    ]


def element_charges_only(options: SmileOptions) -> SmileOptions:
    """Options of the simplest model: one fixed charge an element, no atomic dipoles."""
    return replace(options, charge_head="local", dipole_head="none", dipole_elements=None)
