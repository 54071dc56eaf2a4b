"""The bridge to MACE's training script: the only file that knows it.

MACE's ``run(args)`` is used as it is. For the time of one training run some of the names it
looks up are replaced by functions that call the original and add what charges need. The list
``SEAMS`` says which; :func:`extended_mace` puts the originals back afterwards.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from mace.cli.preprocess_data import run as run_preparation
from mace.cli.run_train import run, run_e3nn_to_cueq

from mace_smile.training import (
    acceleration,
    database_seams,
    fine_tuning_seams,
    rank_seams,
    restart_seams,
    seams,
)
from mace_smile.training.checkpoints import prepare_outputs
from mace_smile.training.foundation import find_start
from mace_smile.training.kept_energy import keep_energy
from mace_smile.training.mace_errors import as_sentences
from mace_smile.training.plan import TrainingPlan, plan_training
from mace_smile.training.plots import with_extra_plots
from mace_smile.training.preparation import (
    plan_preparation,
    with_field_first,
    with_forked_processes,
    write_databases,
)
from mace_smile.training.stage_checks import check_stages
from mace_smile.training.substitution import Seam, substituted
from mace_smile.training.wandb_entries import with_extra_entries


def with_cuequivariance(
    get_params_options: Callable[..., Any], plan: TrainingPlan
) -> Callable[..., Any]:
    """The backbone in its version of cuEquivariance, from when the optimizer is made."""
    return acceleration.with_fused_backbone(get_params_options, plan, run_e3nn_to_cueq)


SEAMS: tuple[Seam, ...] = (
    Seam("mace.cli.run_train", "update_keyspec_from_kwargs", seams.with_label_keys),
    Seam("mace.data.AtomicData", "from_config", seams.with_labels),
    Seam("mace.data.AtomicData", "from_config", fine_tuning_seams.with_kept_head),
    Seam("mace.data.lmdb_dataset", "config_from_atoms", database_seams.with_lmdb_keys),
    Seam("mace.data", "HDF5Dataset", database_seams.with_joined_files),
    Seam("mace.cli.run_train", "get_files_with_suffix", database_seams.with_test_sets),
    Seam("mace.cli.run_train", "configure_model", seams.with_charges),
    Seam("mace.cli.run_train", "get_params_options", seams.with_head_parameters),
    Seam("mace.cli.run_train", "get_params_options", with_cuequivariance),
    Seam("mace.cli.run_train", "run_cueq_to_e3nn", acceleration.with_plain_backbone),
    Seam("mace.cli.run_train", "get_loss_fn", seams.with_extra_terms),
    Seam("mace.cli.run_train", "get_swa", seams.with_extra_terms_in_stage_two),
    Seam("mace.tools.train", "MACELoss", seams.with_extra_metrics),
    Seam("mace.tools.train", "evaluate", seams.without_idle_derivatives),
    Seam("mace.tools.train", "valid_err_log", seams.with_extra_log),
    Seam("mace.cli.run_train", "create_error_table", seams.with_extra_columns),
    Seam("mace.cli.run_train", "remove_pt_head", seams.with_heads_kept),
    Seam("mace.cli.run_train", "setup_wandb", with_extra_entries),
    Seam("mace.cli.run_train", "TrainingPlotter", with_extra_plots),
    Seam("mace.cli.run_train", "LRScheduler", restart_seams.with_known_scheduler),
    Seam("mace.cli.run_train", "ExponentialMovingAverage", restart_seams.with_stored_average),
    Seam("mace.cli.run_train", "inject_LoRAs", fine_tuning_seams.with_lora_in_backbone),
    Seam("mace.tools.train", "evaluate", fine_tuning_seams.with_kept_errors),
    Seam("mace.tools.train", "train_one_epoch", fine_tuning_seams.without_idle_forces),
    Seam("mace.tools.train", "train_one_epoch", restart_seams.with_stored_progress),
    Seam("mace.tools.checkpoint.CheckpointIO", "save", restart_seams.with_complete_checkpoints),
    Seam("mace.tools.checkpoint.CheckpointIO", "load_latest", restart_seams.with_restart_file),
    Seam("mace.cli.run_train", "init_distributed", rank_seams.with_group_on_cpu),
    Seam("mace.cli.run_train", "DDP", rank_seams.with_cpu_models),
    Seam("mace.tools.train", "take_step_lbfgs", rank_seams.with_whole_gradient),
    Seam("mace.cli.run_train", "configure_model", rank_seams.with_mean_of_all),
    Seam("mace.cli.run_train", "get_avg_num_neighbors", rank_seams.with_neighbors_of_all),
    Seam("torch", "save", restart_seams.with_complete_models),
    Seam("torch.jit", "save", restart_seams.with_complete_models),
)

PREPARATION_SEAMS: tuple[Seam, ...] = (
    Seam("mace.cli.preprocess_data", "update_keyspec_from_kwargs", seams.with_label_keys),
    Seam("mace.cli.preprocess_data", "get_dataset_from_xyz", with_field_first),
    Seam("mace.cli.preprocess_data", "mp", with_forked_processes),
    Seam("mace.data.AtomicData", "from_config", seams.with_labels),
)


@contextlib.contextmanager
def extended_mace(plan: TrainingPlan, all_seams: tuple[Seam, ...] | None = None) -> Iterator[None]:
    """Let MACE's training script train charges, until the end of the ``with`` block.

    :param plan: what the run adds to MACE.
    :param all_seams: the names to replace; None takes those of the training.
    :raises RuntimeError: when MACE lacks one of the names.
    """
    with contextlib.ExitStack() as stack:
        for seam in SEAMS if all_seams is None else all_seams:
            owner = seam.owner()
            original = getattr(owner, seam.name, None)
            stack.enter_context(substituted(owner, seam.name, seam.wrap(original, plan)))
        yield


def train(args: argparse.Namespace) -> None:
    """Train a SmileMACE with MACE's training script.

    :param args: of the parser in :mod:`~mace_smile.training.mace_parser`; MACE changes them.
    :raises UserError: for flags, files and checkpoints that cannot be used.
    """
    start = keep_energy(args, find_start(args))
    plan = plan_training(args, start)
    plan.progress.replaced = prepare_outputs(args)
    args.multi_processed_test = False  # `with_test_sets` finds both kinds; MACE's branch cannot run
    args.enable_cueq = args.only_cueq = False  # MACE would refuse the model; the seams convert it
    if args.restart_latest:
        plan.progress.load(args)
    check_stages(args, plan.progress.start_epoch or 0)
    with extended_mace(plan), as_sentences(plan.progress):
        run(args)
        plan.progress.finish()


def prepare(args: argparse.Namespace) -> tuple[str, ...]:
    """Write HDF5 or LMDB files with our labels.

    :param args: from :func:`~mace_smile.training.mace_parser.build_preparation_parser`.
    :return: lines that say how many frames carry each label.
    :raises UserError: for flags and files that cannot be used.
    """
    found = plan_preparation(args)
    with extended_mace(found.plan, PREPARATION_SEAMS):
        write_databases(args, found, run_preparation)
    return found.summary
