"""The bridge to MACE's training script: the only file that knows it.

MACE's ``run(args)`` is used as it is. For the time of one training run some of the names it
looks up are replaced by functions that call the original and add what charges need. The list
``SEAMS`` says which; :func:`extended_mace` puts the originals back afterwards.
"""

import argparse
import contextlib
import difflib
import re
from collections.abc import Iterator
from typing import NoReturn

from mace.cli.run_train import run
from mace.tools.arg_parser import build_default_arg_parser

from mace_smile.errors import UserError
from mace_smile.training import restart_seams, seams
from mace_smile.training.arguments import add_arguments
from mace_smile.training.checkpoints import prepare_outputs
from mace_smile.training.plan import TrainingPlan, plan_training
from mace_smile.training.substitution import Seam, substituted

SEAMS: tuple[Seam, ...] = (
    Seam("mace.cli.run_train", "update_keyspec_from_kwargs", seams.with_label_keys),
    Seam("mace.data.AtomicData", "from_config", seams.with_labels),
    Seam("mace.cli.run_train", "configure_model", seams.with_charges),
    Seam("mace.cli.run_train", "get_params_options", seams.with_head_parameters),
    Seam("mace.cli.run_train", "get_loss_fn", seams.with_extra_terms),
    Seam("mace.cli.run_train", "get_swa", seams.with_extra_terms_in_stage_two),
    Seam("mace.tools.train", "MACELoss", seams.with_extra_metrics),
    Seam("mace.tools.train", "evaluate", seams.without_idle_derivatives),
    Seam("mace.tools.train", "valid_err_log", seams.with_extra_log),
    Seam("mace.cli.run_train", "create_error_table", seams.with_extra_columns),
    Seam("mace.cli.run_train", "remove_pt_head", seams.with_heads_kept),
    Seam("mace.cli.run_train", "LRScheduler", restart_seams.with_known_scheduler),
    Seam("mace.cli.run_train", "ExponentialMovingAverage", restart_seams.with_stored_average),
    Seam("mace.tools.train", "train_one_epoch", restart_seams.with_stored_progress),
    Seam("mace.tools.checkpoint.CheckpointIO", "save", restart_seams.with_complete_checkpoints),
    Seam("mace.tools.checkpoint.CheckpointIO", "load_latest", restart_seams.with_restart_file),
)


def build_parser() -> argparse.ArgumentParser:
    """MACE's parser, which also reads YAML files (`--config`), with our flags added.

    Its errors are :class:`~mace_smile.errors.UserError` instead of the usage of 200 flags.
    """
    parser: argparse.ArgumentParser = build_default_arg_parser()
    add_arguments(parser)

    def refuse(message: str) -> NoReturn:
        if not message.startswith("unrecognized arguments"):
            raise UserError(message)
        known = [text for action in parser._actions for text in action.option_strings]
        unknown = re.findall(r"--\w+", message)
        close = [name for flag in unknown for name in difflib.get_close_matches(flag, known, 2)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"{message} (on the command line or in the file of --config){hint}")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


@contextlib.contextmanager
def extended_mace(plan: TrainingPlan) -> Iterator[None]:
    """Let MACE's training script train charges, until the end of the ``with`` block.

    :param plan: what the run adds to MACE.
    :raises RuntimeError: when MACE lacks one of the names.
    """
    with contextlib.ExitStack() as stack:
        for seam in SEAMS:
            owner = seam.owner()
            original = getattr(owner, seam.name, None)
            stack.enter_context(substituted(owner, seam.name, seam.wrap(original, plan)))
        yield


def train(args: argparse.Namespace) -> None:
    """Train a SmileMACE with MACE's training script.

    :param args: from :func:`build_parser`; MACE changes it on the way.
    :raises UserError: for flags, files and checkpoints that cannot be used.
    """
    plan = plan_training(args)
    prepare_outputs(args)
    if args.restart_latest:
        plan.progress.load(args)
    with extended_mace(plan):
        run(args)
