"""What one training run adds to MACE: heads, labels, loss terms, and the lines that say so."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from mace.tools import DefaultKeys

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.net_charge import CONSEQUENCE, BackgroundEnergy
from mace_smile.model.options import SmileOptions
from mace_smile.structures import StructureSettings
from mace_smile.training.argument_checks import check_mace_flags, fill_label_keys, heads_of
from mace_smile.training.arguments import options_from_args
from mace_smile.training.checkpoints import restart_file
from mace_smile.training.data_checks import check_data
from mace_smile.training.dipole_plan import check_dipoles, dipole_note, scale_is_known
from mace_smile.training.electrostatics_checks import backbone_cutoff, check_electrostatics
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TERMS, Term, TermWeights
from mace_smile.training.polarizability_labels import check_polarizability
from mace_smile.training.progress import Progress
from mace_smile.training.screening_plan import (
    check_screening,
    sampled_files,
    screening_remedy,
    unlikely_sizes,
    with_order,
    with_order_noted,
    without_idle_labels,
)
from mace_smile.training.survey import TEST, TRAIN, VALID, Survey, survey_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelFlags:
    """Where the flags and the labels of one quantity meet."""

    quantity: str
    """Name of the quantity, a key of the loss terms."""
    label: str
    """Name of its label in a configuration."""
    key_flag: str
    """Flag that says where the label is."""

    @property
    def weight_flag(self) -> str:
        """Flag of its weight in the loss."""
        return f"{self.quantity}_weight"


LABELS = (
    LabelFlags(quantities.MACRO_DIPOLE, quantities.DIPOLE, "dipole_key"),
    LabelFlags(quantities.BORN_EFFECTIVE_CHARGES, quantities.BORN_EFFECTIVE_CHARGES, "becs_key"),
    LabelFlags(quantities.CHARGES, quantities.CHARGES, "charges_key"),
    LabelFlags(quantities.POLARIZABILITY, quantities.POLARIZABILITY, "polarizability_key"),
)


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


def plan_training(args: argparse.Namespace) -> TrainingPlan:
    """Check all flags and all frames, and decide what is trained.

    A label that is found is trained with weight 1, except charges, which wait to be asked
    for: those of a population analysis are not the charges of the energy. Born effective
    charges are wanted by a head of their own, and by screening factors that are learned. The keys
    of labels that were not given are filled in, in ``args``.

    :raises UserError: for anything the user can mend.
    """
    check_mace_flags(args)
    options = options_from_args(args)
    r_max = backbone_cutoff(args)
    warnings = check_electrostatics(options, r_max)
    asked = {flags.quantity: _is_asked_for(args, flags) for flags in LABELS}
    asked[quantities.BORN_EFFECTIVE_CHARGES] |= options.screening == "uncoupled"
    asked[quantities.BORN_EFFECTIVE_CHARGES] |= args.becs_order is not None
    asked[quantities.POLARIZABILITY] |= options.has_polarizability
    asked[quantities.MACRO_DIPOLE] |= args.polarization_key is not None
    asked_total_charge = args.total_charge_key is not None
    fill_label_keys(args)
    heads = {
        quantities.MACRO_DIPOLE: options.has_dipole,
        quantities.BORN_EFFECTIVE_CHARGES: options.has_born_charges,
        quantities.CHARGES: options.has_charges,
        quantities.POLARIZABILITY: options.has_polarizability,
    }
    labels = LabelSettings(
        born_effective_charges=options.has_born_charges,
        given_charges=args.given_charges_key is not None,
        macro_dipole=options.has_dipole,
        dipole_axes=args.dipole_axes or "auto",
        dipole_quantum=int(args.dipole_quantum or 0) if args.dipole_quantum != "none" else 0,
        macro_dipole_norm=args.macro_dipole_norm or "per_atom",
        structure=StructureSettings.of_model(options, r_max),
    )
    survey = survey_files(args, labels)
    check_data(args, survey, options)

    weights: list[TermWeights] = []
    for flags in LABELS:
        if not heads[flags.quantity]:
            continue
        if asked[flags.quantity]:
            _check_found(args, survey, flags.label, flags.key_flag)
            _check_has_weight(args, survey, flags)
        _check_heads(args, survey, flags)
        by_default = flags.quantity != quantities.CHARGES
        if asked[flags.quantity] or (by_default and survey.count(TRAIN, flags.label) > 0):
            note = dipole_note(labels) if flags.quantity == quantities.MACRO_DIPOLE else ""
            weights.append(_weights(args, flags.quantity, note))
    for name in (quantities.ENERGY, quantities.FORCES, quantities.STRESS, "virials"):
        key_flag = f"{name}_key"
        if getattr(args, key_flag) != DefaultKeys[name.upper()].value:
            _check_found(args, survey, name, key_flag)
    if args.polarization_key is not None:
        _check_found(args, survey, quantities.POLARIZATION, "polarization_key")
    if asked_total_charge:
        _check_found(args, survey, quantities.TOTAL_CHARGE, "total_charge_key")
    if labels.given_charges:
        _check_found(args, survey, quantities.GIVEN_CHARGES, "given_charges_key")
    if options.total_charge_constraint == "penalty":
        weights.append(_weights(args, quantities.TOTAL_CHARGE))
    check_screening(args, options, survey, weights)
    check_polarizability(options, weights)
    labels = without_idle_labels(options, labels, weights)
    if labels.ignores_born_effective_charges:
        name = quantities.BORN_EFFECTIVE_CHARGES
        weights = [term for term in weights if term.name != name]
    labels = with_order(args, survey, labels)
    weights = with_order_noted(weights, labels)
    trained = [term.name for term in weights]
    check_dipoles(args, options, survey, trained)
    return TrainingPlan(
        options=options,
        labels=labels,
        progress=Progress(restart_file(args)),
        weights=tuple(weights),
        summary=(*_summary(args, survey, weights, labels), *sampled_files(survey)),
        warnings=(*warnings, *_net_charges(survey), *unlikely_sizes(args, survey)),
        saves_all_checkpoints=args.save_all_checkpoints,
        knows_scale=scale_is_known(options, survey, trained),
    )


def _is_asked_for(args: argparse.Namespace, flags: LabelFlags) -> bool:
    """Whether a label was asked for: its key or a weight above zero was given."""
    given = [getattr(args, flags.weight_flag), getattr(args, f"swa_{flags.weight_flag}")]
    return getattr(args, flags.key_flag) is not None or any(given)


def _weights(args: argparse.Namespace, quantity: str, note: str = "") -> TermWeights:
    """Weights of a term: 1 unless given, and the same in stage two unless given."""
    first = getattr(args, f"{quantity}_weight")
    first = 1.0 if first is None else first
    second = getattr(args, f"swa_{quantity}_weight")
    return TermWeights(quantity, first, first if second is None else second, note)


def _check_found(args: argparse.Namespace, survey: Survey, label: str, key_flag: str) -> None:
    """A label that is wanted must be in some training frame."""
    if any(label in frame.present for frame in survey.select(TRAIN)):
        return
    key = getattr(args, key_flag)
    raise UserError(
        f"no training frame has the label `{label}` under the key '{key}' (--{key_flag}); the "
        f"frames have {', '.join(sorted(survey.keys)) or 'no keys'}. {survey.remedy(label, key)}"
        + screening_remedy(args, label)
    )


def _check_heads(args: argparse.Namespace, survey: Survey, flags: LabelFlags) -> None:
    """A label whose key a head names must be in some training frame of that head."""
    for head, settings in heads_of(args).items():
        key = settings.get(flags.key_flag)
        of_head = [frame for frame in survey.select(TRAIN) if frame.head == head]
        if key is not None and not any(flags.label in frame.present for frame in of_head):
            raise UserError(
                f"head '{head}': no training frame has the label `{flags.label}` under the key "
                f"'{key}' ('{flags.key_flag}' in --heads); give the key that has it, or leave it "
                "out of this head"
            )


def _check_has_weight(args: argparse.Namespace, survey: Survey, flags: LabelFlags) -> None:
    """A label that was asked for must count in some training frame."""
    if survey.count(TRAIN, flags.label) > 0:
        return
    reason = f"config_{flags.label}_weight is zero everywhere"
    if flags.quantity == quantities.MACRO_DIPOLE:
        reason += (
            ", or all frames are periodic along all axes, where a dipole is a label only with "
            "--dipole_quantum and --dipole_axes"
        )
    raise UserError(
        f"the label `{flags.label}` under the key '{getattr(args, flags.key_flag)}' counts in no "
        f"training frame: {reason}; leave out --{flags.key_flag} and --{flags.weight_flag}, or "
        "add frames"
    )


def _net_charges(survey: Survey) -> tuple[str, ...]:
    """What the net charges of periodic frames cost, if there are such frames."""
    energies = [frame.background_energy for frame in survey.frames if frame.background_energy]
    if not energies:
        return ()
    return (
        f"{len(energies)} of {len(survey.frames)} frames have a net charge in a cell that is "
        "periodic along three axes, where a uniform background neutralises it: in a frame "
        f"{BackgroundEnergy.largest(energies).describe('up to ')}; {CONSEQUENCE}; --net_charge "
        "error refuses such frames",
    )


def _summary(
    args: argparse.Namespace,
    survey: Survey,
    weights: Sequence[TermWeights],
    settings: LabelSettings,
) -> tuple[str, ...]:
    """How many frames carry each label, and which labels are not used."""
    trained = {term.name: term for term in weights}
    lines = []
    for flags in LABELS:
        counts = {role: survey.count(role, flags.label) for role in (TRAIN, VALID, TEST)}
        totals = {role: len(survey.select(role)) for role in (TRAIN, VALID, TEST)}
        if not any(counts.values()):
            continue
        text = ", ".join(
            f"{counts[role]} of {totals[role]} frames of the {role.replace('_', ' ')}"
            for role in counts
            if totals[role]
        )
        use = "not trained"
        if flags.quantity in trained:
            term = trained[flags.quantity]
            use = f"weight {term.stage_one:g}, in stage two {term.stage_two:g}"
            use += f" ({term.note})" if term.note else ""
        elif flags.quantity == quantities.CHARGES and settings.macro_dipole:
            use = "not trained unless --charges_key or --charges_weight is given"
        elif flags.quantity == quantities.POLARIZABILITY:
            use = "not trained without --polarizability_head local"
        lines.append(f"Label {getattr(args, flags.key_flag)} ({flags.quantity}): {text}; {use}")
    if settings.given_charges:
        count = survey.count(TRAIN, quantities.GIVEN_CHARGES)
        lines.append(
            f"Given charges {args.given_charges_key}: {count} of {len(survey.select(TRAIN))} "
            "frames of the train file"
        )
    return tuple(lines)
