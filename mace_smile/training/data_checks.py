"""Checks of the data sets as a whole: elements, isolated-atom energies, numbers of frames."""

import argparse

from ase.data import chemical_symbols

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.input_files import head_setting, heads_of, replays
from mace_smile.training.literals import read_elements, read_energies
from mace_smile.training.statistics_files import read_statistics
from mace_smile.training.survey import TEST, TRAIN, VALID, Frame, Survey

#: Values of --E0s that ask the foundation model.
OF_FOUNDATION = ("foundation", "estimated")


def check_data(args: argparse.Namespace, survey: Survey, options: SmileOptions) -> None:
    """Refuse data that MACE would stop at later, or train on with nonsense.

    :raises UserError: saying what is missing and the remedy.
    """
    _check_elements(args, survey)
    _check_dipole_elements(args, survey, options)
    _check_isolated_energies(args, survey)
    _check_numbers(args, survey)


def _names(elements: set[int]) -> str:
    """Chemical symbols in the order of atomic numbers."""
    return ", ".join(chemical_symbols[z] for z in sorted(elements))


def _elements(frames: list[Frame]) -> set[int]:
    """All elements of some frames."""
    return set().union(*(frame.elements for frame in frames))


def _model_elements(args: argparse.Namespace, survey: Survey) -> set[int]:
    """Elements the model will know."""
    if args.atomic_numbers is not None:
        try:
            return read_elements(args.atomic_numbers)
        except ValueError as error:
            raise UserError(
                f"--atomic_numbers is '{args.atomic_numbers}' but must be a list such as [1, 8]"
            ) from error
    known: set[int] = set()
    for head in heads_of(args) or {"Default": {}}:
        statistics = head_setting(args, head, "statistics_file")
        frames = [frame for frame in survey.frames if frame.head == head and not frame.is_isolated]
        of_head = [frame for frame in frames if frame.role != TEST]
        known |= _elements(of_head) if statistics is None else read_statistics(statistics).elements
    replayed = [frame for frame in survey.select(TRAIN) if frame.head == "pt_head"]
    return known | _elements(replayed)


def _check_elements(args: argparse.Namespace, survey: Survey) -> None:
    """Every element must have been trained on."""
    known = _model_elements(args, survey)
    trained = _elements(survey.select(TRAIN))
    if args.foundation_model is not None:
        trained = known  # the foundation model has been trained on more
    if trained - known:
        raise UserError(
            f"the training frames contain {_names(trained - known)}, which --atomic_numbers "
            f"{args.atomic_numbers} (or --statistics_file) does not list; add them"
        )
    if args.foundation_model_elements:
        return
    for role, name in ((VALID, "validation"), (TEST, "test")):
        strange = _elements(survey.select(role)) - trained
        if strange:
            raise UserError(
                f"the {name} frames contain {_names(strange)}, which no training frame contains; "
                "add such training frames, or remove these frames"
            )


def _check_dipole_elements(args: argparse.Namespace, survey: Survey, options: SmileOptions) -> None:
    """Atomic dipoles are carried by elements the model will know."""
    unknown = set(options.dipole_numbers) - _model_elements(args, survey)
    if unknown:
        raise UserError(
            f"--dipole_elements names {_names(unknown)}, which no training frame contains; name "
            f"some of {_names(_model_elements(args, survey))}"
        )


def _check_isolated_energies(args: argparse.Namespace, survey: Survey) -> None:
    """Every element needs the energy of its isolated atom, and no other element may have one."""
    if args.statistics_file is not None:
        return
    heads = heads_of(args) or {"Default": {}}
    with_energy: set[int] = set()
    for head, settings in heads.items():
        frames = [frame for frame in survey.frames if frame.head == head and frame.role != TEST]
        used = [frame for frame in frames if not frame.is_isolated]
        if settings.get("statistics_file") is not None:
            with_energy |= _elements(used)
            continue
        isolated = _elements([frame for frame in frames if frame.is_isolated])
        text = settings.get("E0s", args.E0s)
        if isolated:
            energies, source = isolated, "the frames with config_type=IsolatedAtom"
        elif args.foundation_model is not None and str(text).lower() in OF_FOUNDATION:
            return
        elif text is None:
            raise UserError(
                "there are no energies of isolated atoms: give them as --E0s '{1: -13.6, ...}', "
                "as training frames with config_type=IsolatedAtom, "
                + (
                    "or fit them with --E0s average"
                    if args.foundation_model is None
                    else "or take --E0s foundation (labels of the method of the foundation "
                    "model) or --E0s estimated (of another method)"
                )
            )
        elif str(text).lower() == "average":
            _check_all_have_energies(used)
            energies, source = _elements(used), "--E0s average"
        else:
            energies, source = _elements_of_text(str(text)), "--E0s"
        if _elements(used) - energies:
            raise UserError(
                f"{source} gives no isolated-atom energy for {_names(_elements(used) - energies)}"
                "; add it"
            )
        with_energy |= energies
    unused = with_energy - _model_elements(args, survey)
    if unused and not (args.keep_isolated_atoms or args.foundation_model_elements):
        raise UserError(
            f"there are isolated-atom energies for {_names(unused)}, which no frame contains; "
            "remove them"
        )


def _check_all_have_energies(frames: list[Frame]) -> None:
    """A fit of isolated-atom energies needs the energy of every training frame."""
    without = [
        frame for frame in frames if frame.role == TRAIN and quantities.ENERGY not in frame.present
    ]
    if without:
        raise UserError(
            f"--E0s average needs the energy of every training frame, but {len(without)} have "
            "none; give the energies of isolated atoms"
        )


def _elements_of_text(text: str) -> set[int]:
    """Elements in a dictionary of isolated-atom energies, or in a JSON file of one."""
    try:
        return set(read_energies(text))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"--E0s is '{text}' but must be a dictionary from atomic number to energy in eV, a "
            f"JSON file of one, or average ({error})"
        ) from error


def _check_numbers(args: argparse.Namespace, survey: Survey) -> None:
    """There must be frames to validate on, and at least one full batch to train on."""
    n_train = 0
    for head, settings in (heads_of(args) or {"Default": {}}).items():
        n_head = sum(frame.head == head for frame in survey.select(TRAIN))
        n_valid = sum(frame.head == head for frame in survey.select(VALID))
        if n_valid == 0:
            fraction = float(settings.get("valid_fraction", args.valid_fraction))
            if not 0.0 < fraction < 1.0:
                raise UserError(f"--valid_fraction is {fraction} but must lie between 0 and 1")
            if n_head < 2:
                raise UserError(
                    f"head '{head}' has {n_head} training frames, too few to set one aside for "
                    "validation; add frames, or give --valid_file"
                )
            n_head = min(n_head - int(fraction * n_head), n_head - 1)
        n_train += n_head
    # Replayed frames fill batches too, and with L-BFGS MACE keeps partial ones.
    keeps_partial = args.lbfgs or args.distributed or replays(args)
    if n_train < args.batch_size and not keeps_partial:
        raise UserError(
            f"--batch_size is {args.batch_size} but there are only {n_train} training frames, "
            "and MACE drops batches that are not full; use a smaller --batch_size"
        )
