"""What ``mace_smile_train_charges`` and ``mace_smile_scan_susceptibility`` do."""

import argparse
import copy
import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from mace.modules import ScaleShiftMACE
from mace.tools.torch_tools import default_dtype

import mace_smile
from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.frozen.backbone import FrozenModel, kept_options, load_frozen, train_backbone
from mace_smile.frozen.cross_validation import FIXED_CHARGES, SMILE, CrossValidation
from mace_smile.frozen.fit import FitSettings, HeadFitter, element_charges_only
from mace_smile.frozen.flags import COARSE_LIST, check_scan_flags, fit_settings, sorted_list
from mace_smile.frozen.frames import FrozenFrames, read_frames
from mace_smile.frozen.groups import assign_folds, group_names
from mace_smile.frozen.pairs import slab_dipoles, susceptibility_from_pairs
from mace_smile.frozen.report import (
    draw_scan,
    error_table,
    scan_summary,
    scan_table,
    write_scan,
)
from mace_smile.frozen.run_log import logging_of
from mace_smile.frozen.scan import ScanResult, analyse
from mace_smile.frozen.store import ScanStore
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.checkpoints import write_atomically
from mace_smile.training.databases import is_database
from mace_smile.training.dipole_plan import UNKNOWN_SCALE
from mace_smile.training.flag import LEARNED_VALUE
from mace_smile.training.plan import TrainingPlan, plan_training
from mace_smile.training.survey import TRAIN, VALID, survey_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What both commands work on."""

    args: argparse.Namespace
    """The command line; keys of labels are filled in."""
    plan: TrainingPlan
    """Labels, loss terms and options, as ``mace_smile_run_train`` would have them."""
    options: SmileOptions
    """Of the result."""
    frozen: FrozenModel
    """The MACE that stays as it is."""
    backbone: ScaleShiftMACE
    """The same in double precision, for features."""
    settings: FitSettings
    """How heads are fitted."""
    frames: FrozenFrames
    """Of the training files."""

    def fitter(self, options: SmileOptions) -> HeadFitter:
        """Fits heads with some options."""
        return HeadFitter(
            self.backbone,
            options,
            self.frames,
            self.plan.weights,
            self.settings,
            self.args.seed,
        )


def prepare(args: argparse.Namespace) -> Task:
    """Check flags and frames, obtain the frozen MACE, and compute features.

    :param args: changed: the keys of labels are filled in.
    :raises UserError: for anything the user can mend.
    """
    settings = fit_settings(args)
    if args.heads is not None:
        raise UserError("--heads is not supported on a frozen MACE; give the frames of one head")
    for path in (args.train_file, args.valid_file, args.test_dir):
        if path is not None and is_database(path):
            raise UserError(f"'{path}' is a database; give extended XYZ files to a frozen MACE")
    if args.electrostatics not in (None, "none"):
        raise UserError(
            f"--electrostatics {args.electrostatics} would add to the energy of the frozen MACE; "
            "leave it out here, or train charges and energies together with mace_smile_run_train"
        )
    args.electrostatics = "none" if args.charge_head != "none" else None
    original = copy.deepcopy(args)
    if args.foundation_model is not None:
        # Its energy stays, whatever is given, and its heads are fitted to all frames at once.
        args.E0s, args.batch_size = "foundation", 1
    plan = plan_training(args)
    foundation = args.foundation_model
    if foundation is None:
        foundation = train_backbone(original, survey_files(args, plan.labels))
    frozen = load_frozen(foundation, getattr(torch, args.default_dtype), args.device, args.trust)
    for line in (*plan.summary, *plan.warnings):
        logger.info(line)
    backbone = copy.deepcopy(frozen.backbone).to(torch.float64)
    with default_dtype(torch.float64):
        frames = read_frames(args, plan.labels, TRAIN, backbone)
    options = kept_options(frozen, _fitted_labels_only(plan.options, args.foundation_model))
    return Task(args, plan, options, frozen, backbone, settings, frames)


def _fitted_labels_only(options: SmileOptions, foundation: str | None) -> SmileOptions:
    """Options that do not claim the labels of energies for a MACE that stays as it is."""
    if foundation is None:
        return options
    of_mace = (quantities.ENERGY, quantities.FORCES, quantities.STRESS)
    labels = tuple(name for name in options.training_labels if name not in of_mace)
    return dataclasses.replace(options, training_labels=labels)


def model_path(args: argparse.Namespace) -> Path:
    """Where the result goes."""
    return Path(args.model_dir or args.work_dir) / f"{args.name}.model"


def check_model_path(args: argparse.Namespace) -> None:
    """Refuse to replace a model.

    :raises UserError: when it exists and ``--overwrite`` is not given.
    """
    if model_path(args).exists() and not args.overwrite:
        raise UserError(
            f"'{model_path(args)}' exists; give another --name, or --overwrite to replace it"
        )


def finished_model(task: Task, fitted: SmileMACE) -> SmileMACE:
    """The frozen MACE itself with the fitted heads, in the precision of the run."""
    dtype = getattr(torch, task.args.default_dtype)
    with default_dtype(dtype):
        model = SmileMACE(task.frozen.backbone, fitted.options).to(dtype)
    state = dict(fitted.charge_heads.state_dict())
    if task.frozen.smile is not None:
        names = [quantities.POLARIZABILITY] if fitted.options.has_polarizability else []
        if fitted.options.screening == "uncoupled":
            names.append(quantities.BORN_EFFECTIVE_CHARGES)
        for name in names:
            kept = task.frozen.smile.charge_heads[name].state_dict()
            state.update({f"{name}.{key}": value for key, value in kept.items()})
    model.charge_heads.load_state_dict(state)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def fit_and_write(task: Task, options: SmileOptions) -> SmileMACE:
    """Fit the heads to all frames, print errors, and write the model.

    :return: the model in double precision.
    """
    fitted = task.fitter(options).fit(range(len(task.frames)))
    sets = [("train", task.frames)]
    if task.args.valid_file:
        with default_dtype(torch.float64):
            valid = read_frames(task.args, task.plan.labels, VALID, task.backbone)
        sets.append(("valid", valid))
    names = [term.name for term in task.plan.weights]
    logger.info("Errors of the labels:\n%s", error_table(fitted, sets, names))
    logger.info(
        "Susceptibility chi of the macro-dipole relation: %.4f (%s), of given charges: %.4f",
        fitted.susceptibility_value(),
        "learned" if options.learn_susceptibility else "fixed",
        fitted.given_susceptibility_value(),
    )
    path = model_path(task.args)
    write_atomically(finished_model(task, fitted), path)
    logger.info("Energies, forces and stresses are those of the frozen MACE; wrote %s", path)
    return fitted


def train_charges(args: argparse.Namespace) -> None:
    """Train heads on a frozen MACE.

    :param args: of ``mace_smile_train_charges``.
    :raises UserError: for anything the user can mend.
    """
    check_model_path(args)
    with logging_of(args, f"{args.name}_charges"):
        task = prepare(args)
        fit_and_write(task, task.options)


def scan_susceptibility(args: argparse.Namespace) -> ScanResult:
    """Cross-validate over a list of susceptibilities, and train with the best.

    :param args: of ``mace_smile_scan_susceptibility``.
    :raises UserError: for anything the user can mend.
    """
    check_scan_flags(args)
    if args.susceptibility == LEARNED_VALUE:
        raise UserError(
            "--susceptibility learned has no effect here: the scan sets it; leave it out, or use "
            "mace_smile_train_charges"
        )
    with logging_of(args, f"{args.name}_scan"):
        task = prepare(args)
        frames, options = task.frames, task.options
        if quantities.MACRO_DIPOLE not in {term.name for term in task.plan.weights}:
            raise UserError(
                f"no training frame has a dipole label (key '{args.dipole_key}'), or it has no "
                "weight; the scan needs dipoles of slabs"
            )
        dipoles = slab_dipoles(frames, options.boundary, options.slab_axis)
        if not dipoles:
            raise UserError(
                "no training frame is a slab (two periodic axes) with a dipole label along its "
                "normal, so chi has no effect; give such frames, with pbc='T T F'"
            )
        groups = group_names(frames.atoms, args.group_key, args.group_pattern)
        folds = assign_folds(groups, args.folds)
        stem = Path(args.work_dir) / f"{args.name}_scan"
        store = ScanStore(stem.with_suffix(".jsonl"), _scan_key(task, folds))
        if not store.is_continued and args.write_model == "yes":
            check_model_path(args)
        compared = {SMILE: options, FIXED_CHARGES: element_charges_only(options)}
        validation = CrossValidation(task.fitter, compared, frames, folds, store)
        if args.susceptibilities is None:
            values = validation.run_refined(COARSE_LIST)
        else:
            values = sorted_list(args.susceptibilities)
            validation.run(values)
        pairs = susceptibility_from_pairs(frames, dipoles, groups, args.bootstrap, args.seed)
        result = analyse(validation, values, groups, pairs, args.bootstrap, args.seed)
        logger.info("Cross-validated errors of the macro dipole:\n%s", scan_table(result))
        for line in scan_summary(result):
            logger.info(line)
        if not task.plan.knows_scale:
            logger.warning("The minimum is no susceptibility: %s", UNKNOWN_SCALE)
        write_scan(result, stem, {"options": repr(options), "fit": repr(task.settings)})
        draw_scan(result, stem.with_suffix(".png"))
        logger.info("Wrote %s.csv, .json and .png", stem)
        if args.write_model == "yes":
            fit_and_write(task, dataclasses.replace(options, susceptibility=result.best))
    return result


def _scan_key(task: Task, folds: list[int]) -> str:
    """A hash of all that the results of a scan depend on, beside chi."""
    options = dataclasses.replace(task.options, susceptibility=0.0)
    text = repr(
        (
            mace_smile.__version__,
            options,
            task.settings,
            task.plan.weights,
            task.args.seed,
            folds,
            task.frozen.digest(),
            task.frames.digest(),
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()
