"""What one training run adds to MACE: heads, labels, loss terms, and the lines that say so."""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from mace_smile import quantities
from mace_smile.model.options import SmileOptions
from mace_smile.structures import StructureSettings
from mace_smile.training.acceleration_checks import (
    check_accelerated_options,
    wants_cuequivariance,
)
from mace_smile.training.argument_checks import check_mace_flags, fill_label_keys
from mace_smile.training.arguments import options_from_args
from mace_smile.training.checkpoints import (
    conditions_of_validation,
    flags_of_model,
    flags_of_optimizer,
    restart_file,
)
from mace_smile.training.data_checks import check_data
from mace_smile.training.dipole_plan import check_dipoles, scale_is_known
from mace_smile.training.electrostatics_checks import backbone_cutoff, check_electrostatics
from mace_smile.training.foundation import Start, check_elements, drifting_heads
from mace_smile.training.kept_energy import check_kept_options, check_trained
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TERMS, Term, TermWeights
from mace_smile.training.plan_notes import (
    net_charges,
    summary,
    unknown_total_charges,
)
from mace_smile.training.polarizability_labels import check_polarizability
from mace_smile.training.progress import Progress
from mace_smile.training.ranks import check_frames_of_ranks
from mace_smile.training.screening_plan import (
    check_screening,
    sampled_files,
    unlikely_sizes,
    with_order,
    with_order_noted,
    without_idle_labels,
)
from mace_smile.training.survey import (
    TRAIN,
    VALID,
    Survey,
    labels_not_asked_for,
    survey_files,
)
from mace_smile.training.wanted_labels import (
    check_other_labels,
    chosen_terms,
    term_weights,
    wanted_labels,
)

logger = logging.getLogger(__name__)


#: Losses of MACE that weigh stresses.
LOSSES_WITH_STRESS = ("stress", "huber", "universal")


@dataclass(frozen=True)
class TrainingPlan:
    """What one training run adds to MACE."""

    options: SmileOptions
    """Hyperparameters of the model."""
    labels: LabelSettings
    """Labels the structures carry beside MACE's."""
    progress: Progress
    """What the run has reached, for restarts; it changes while the run goes on."""
    weights: tuple[TermWeights, ...] = ()
    """Terms of the loss beside MACE's."""
    summary: tuple[str, ...] = ()
    """Lines for the log: how many frames carry each label."""
    warnings: tuple[str, ...] = ()
    """Lines for the log: what a careful user would want to know of the electrostatics."""
    saves_all_checkpoints: bool = False
    """Whether a checkpoint is kept of every epoch, better or not."""
    knows_scale: bool = True
    """Whether the data tell the scale of learned charges apart from the susceptibility."""
    start: Start | None = None
    """The model the run starts from."""
    uses_cuequivariance: bool = False
    """Whether the backbone is trained in its version of cuEquivariance."""

    @property
    def keeps_energy(self) -> bool:
        """Whether energies, forces and stresses stay those of the foundation model."""
        return self.start is not None and self.start.keeps_energy

    def terms(self, stage_two: bool = False) -> list[Term]:
        """Terms of the loss in the first or the second stage."""
        return [
            TERMS[term.name](term.stage_two if stage_two else term.stage_one, term.note)
            for term in self.weights
        ]

    def log(self) -> None:
        """Say how many frames carry each label, and what to be careful about."""
        for line in self.summary:
            logger.info(line)
        for line in self.warnings:
            logger.warning(line)


def plan_training(args: argparse.Namespace, start: Start | None = None) -> TrainingPlan:
    """Check all flags and all frames, and decide what is trained.

    A label that is found is trained with weight 1, except charges, which wait to be asked
    for: those of a population analysis are not the charges of the energy. Born effective
    charges are wanted by a head of their own, and by screening factors that are learned. The keys
    of labels that were not given are filled in, in ``args``.

    :param start: the model the run starts from, whose heads stay.
    :raises UserError: for anything the user can mend.
    """
    check_mace_flags(args)
    options = options_from_args(args)
    if wants_cuequivariance(args):
        check_accelerated_options(options)
    r_max = backbone_cutoff(args) if start is None else start.r_max
    inherited = start.inherited if start is not None else frozenset()
    warnings = check_electrostatics(options, r_max)
    asked = wanted_labels(args, options, inherited)
    asked_total_charge = args.total_charge_key is not None
    fill_label_keys(args)
    labels = _label_settings(args, options, r_max)
    survey = survey_files(args, labels)
    check_data(args, survey, options)
    n_train, n_valid = len(survey.select(TRAIN)), len(survey.select(VALID))
    check_frames_of_ranks(n_train, n_valid or int(args.valid_fraction * n_train))
    if start is not None:
        check_elements(args, start, set().union(*(frame.elements for frame in survey.frames)))
        check_kept_options(start, options)

    weights = chosen_terms(args, options, survey, labels, asked)
    check_other_labels(args, survey, labels, asked_total_charge, inherited)
    if options.total_charge_constraint == "penalty":
        weights.append(term_weights(args, quantities.TOTAL_CHARGE))
    if "screening" not in inherited:
        check_screening(args, options, survey, weights)
    if "polarizability_head" not in inherited:
        check_polarizability(options, weights)
    labels = without_idle_labels(options, labels, weights)
    if labels.ignores_born_effective_charges:
        name = quantities.BORN_EFFECTIVE_CHARGES
        weights = [term for term in weights if term.name != name]
    labels = with_order(args, survey, labels)
    weights = with_order_noted(weights, labels)
    trained = [term.name for term in weights]
    of_start: tuple[str, ...] = ()
    if start is not None:
        check_trained(start, trained)
        of_start = (*start.warnings, *drifting_heads(start, options, trained))
    check_dipoles(args, options, survey, trained, None if start is None else start.options)
    return TrainingPlan(
        options=dataclasses.replace(
            options, training_labels=_trained_labels(args, survey, trained, start)
        ),
        labels=labels,
        progress=Progress(
            restart_file(args),
            flags_of_model(args, options),
            flags_of_optimizer(args),
            conditions_of_validation(args, n_train, n_valid),
        ),
        weights=tuple(weights),
        summary=(*summary(args, survey, weights, labels), *sampled_files(survey)),
        warnings=(
            *warnings,
            *of_start,
            *net_charges(survey),
            *unknown_total_charges(survey, labels),
            *unlikely_sizes(args, survey),
        ),
        saves_all_checkpoints=args.save_all_checkpoints,
        knows_scale=scale_is_known(options, survey, trained),
        start=start,
        uses_cuequivariance=wants_cuequivariance(args),
    )


def _label_settings(args: argparse.Namespace, options: SmileOptions, r_max: float) -> LabelSettings:
    """Which labels the structures carry, and how dipoles are read."""
    return LabelSettings(
        born_effective_charges=options.has_born_charges,
        given_charges=args.given_charges_key is not None,
        ignored=labels_not_asked_for(args),
        macro_dipole=options.has_dipole,
        dipole_axes=args.dipole_axes or "auto",
        dipole_quantum=int(args.dipole_quantum or 0) if args.dipole_quantum != "none" else 0,
        macro_dipole_norm=args.macro_dipole_norm or "per_atom",
        structure=StructureSettings.of_model(options, r_max),
    )


def _trained_labels(
    args: argparse.Namespace, survey: Survey, trained: Sequence[str], start: Start | None
) -> tuple[str, ...]:
    """Names of all labels the loss weighs, MACE's own first; kept ones have been weighed before."""
    if start is not None and start.keeps_energy:
        before = start.options.training_labels or (quantities.ENERGY, quantities.FORCES)
        return tuple(dict.fromkeys((*before, *trained)))
    of_mace = [
        name
        for name in (quantities.ENERGY, quantities.FORCES, quantities.STRESS)
        if survey.count(TRAIN, name) > 0 and getattr(args, f"{name}_weight") > 0
    ]
    if args.loss not in LOSSES_WITH_STRESS and quantities.STRESS in of_mace:
        of_mace.remove(quantities.STRESS)
    return (*of_mace, *trained)
