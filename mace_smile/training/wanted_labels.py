"""Which labels a training weighs: what was asked for must be there, and what is there is taken."""

import argparse
from collections.abc import Collection, Mapping

from mace.tools import DefaultKeys

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.dipole_plan import dipole_note
from mace_smile.training.input_files import heads_of
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TermWeights
from mace_smile.training.plan_notes import LABELS, LabelFlags
from mace_smile.training.screening_plan import screening_remedy
from mace_smile.training.survey import TRAIN, Survey


def wanted_labels(
    args: argparse.Namespace, options: SmileOptions, inherited: Collection[str]
) -> dict[str, bool]:
    """Which quantities a flag or a new head wants labels of, before keys are filled in.

    :param inherited: options that the run has from its foundation model.
    """
    asked = {flags.quantity: _is_asked_for(args, flags) for flags in LABELS}
    if "screening" not in inherited:
        asked[quantities.BORN_EFFECTIVE_CHARGES] |= options.screening == "uncoupled"
    asked[quantities.BORN_EFFECTIVE_CHARGES] |= args.becs_order is not None
    if "polarizability_head" not in inherited:
        asked[quantities.POLARIZABILITY] |= options.has_polarizability
    asked[quantities.MACRO_DIPOLE] |= args.polarization_key is not None
    return asked


def chosen_terms(
    args: argparse.Namespace,
    options: SmileOptions,
    survey: Survey,
    labels: LabelSettings,
    asked: Mapping[str, bool],
) -> list[TermWeights]:
    """Terms of the loss: labels that were asked for, and those found, charges excepted.

    :raises UserError: for a label that was asked for and is nowhere, or counts nowhere.
    """
    has_head = {
        quantities.MACRO_DIPOLE: options.has_dipole,
        quantities.BORN_EFFECTIVE_CHARGES: options.has_born_charges,
        quantities.CHARGES: options.has_charges,
        quantities.POLARIZABILITY: options.has_polarizability,
    }
    terms: list[TermWeights] = []
    for flags in LABELS:
        if not has_head[flags.quantity]:
            continue
        if asked[flags.quantity]:
            _check_found(args, survey, flags.label, flags.key_flag)
            _check_has_weight(args, survey, flags)
        _check_heads(args, survey, flags)
        by_default = flags.quantity != quantities.CHARGES
        if asked[flags.quantity] or (by_default and survey.count(TRAIN, flags.label) > 0):
            note = dipole_note(labels) if flags.quantity == quantities.MACRO_DIPOLE else ""
            terms.append(term_weights(args, flags.quantity, note))
    return terms


def check_other_labels(
    args: argparse.Namespace,
    survey: Survey,
    labels: LabelSettings,
    asked_total_charge: bool,
    inherited: Collection[str],
) -> None:
    """Labels of MACE under keys of their own, and those that no term of the loss weighs.

    :raises UserError: for one that was asked for and is in no training frame.
    """
    for name in (quantities.ENERGY, quantities.FORCES, quantities.STRESS, "virials"):
        key_flag = f"{name}_key"
        if getattr(args, key_flag) != DefaultKeys[name.upper()].value:
            _check_found(args, survey, name, key_flag)
    if args.polarization_key is not None:
        _check_found(args, survey, quantities.POLARIZATION, "polarization_key")
    if asked_total_charge and "total_charge_key" not in inherited:
        _check_found(args, survey, quantities.TOTAL_CHARGE, "total_charge_key")
    if labels.given_charges and "given_charges_key" not in inherited:
        _check_found(args, survey, quantities.GIVEN_CHARGES, "given_charges_key")


def term_weights(args: argparse.Namespace, quantity: str, note: str = "") -> TermWeights:
    """Weights of a term: 1 unless given, and the same in stage two unless given."""
    first = getattr(args, f"{quantity}_weight")
    first = 1.0 if first is None else first
    second = getattr(args, f"swa_{quantity}_weight")
    return TermWeights(quantity, first, first if second is None else second, note)


def _is_asked_for(args: argparse.Namespace, flags: LabelFlags) -> bool:
    """Whether a label was asked for: its key or a weight above zero was given."""
    given = [getattr(args, flags.weight_flag), getattr(args, f"swa_{flags.weight_flag}")]
    return getattr(args, flags.key_flag) is not None or any(given)


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
