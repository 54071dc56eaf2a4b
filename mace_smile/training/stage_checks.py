"""Each stage of a training must end with a model."""

import argparse

from mace_smile.errors import UserError
from mace_smile.training.checkpoints import find_checkpoints
from mace_smile.training.requirements import has_stage_two, start_of_stage_two


def check_stages(args: argparse.Namespace, start_epoch: int) -> None:
    """Refuse a stage without a checkpoint: MACE stops at the end of the training without one.

    :param start_epoch: where the run starts, or goes on.
    :raises UserError: naming the flags that leave the stage without a validation.
    """
    last = args.max_num_epochs
    stages = {False: (0, last)}
    if has_stage_two(args):
        start = start_of_stage_two(args)
        stages = {False: (0, min(start, last))}
        if start < last:
            stages[True] = (start, last)
    stored = find_checkpoints(args) if args.restart_latest else []
    for is_stage_two, (begin, end) in stages.items():
        begin = max(begin, start_epoch)
        is_validated = -(-begin // args.eval_interval) * args.eval_interval < end
        if is_validated or any(one.is_stage_two == is_stage_two for one in stored):
            continue
        raise UserError(
            f"stage {'two' if is_stage_two else 'one'} would end without a model: no epoch from "
            f"{begin} up to {end} is a multiple of --eval_interval {args.eval_interval}, and there "
            "is no checkpoint of it; change --eval_interval, --start_swa or --max_num_epochs"
        )
