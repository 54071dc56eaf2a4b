"""Training on several ranks: what MACE leaves out for CPUs, and its statistics.

MACE makes a group of processes for GPUs only (nccl, ccl), and gives the number of a GPU to
``DistributedDataParallel`` on a CPU too, which refuses it. The shift and scale of its energies
are those of the frames that fall to the first rank.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch.distributed
from mace.tools import torch_geometric

from mace_smile.training.plan import TrainingPlan


def with_group_on_cpu(init: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """The ranks form a group on CPUs too, by gloo."""

    def init_distributed(args: argparse.Namespace) -> tuple[int, int, int]:
        ranks: tuple[int, int, int] = init(args)
        if args.distributed and args.device == "cpu" and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", init_method="env://")
        return ranks

    return init_distributed


def with_cpu_models(parallel: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """A model on a CPU has no number of a device."""

    def make_parallel(model: torch.nn.Module, device_ids: list[int] | None = None) -> Any:
        if next(model.parameters()).device.type == "cpu":
            device_ids = None
        return parallel(model, device_ids=device_ids)

    return make_parallel


def of_all_frames(loader: Any) -> Any:
    """A loader of the frames of all ranks, for statistics; the loader itself on a single rank."""
    if not torch.distributed.is_initialized():
        return loader
    return torch_geometric.dataloader.DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        generator=torch.Generator(),  # else the weights would start from other random numbers
    )


def with_mean_of_all(configure_model: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Shift and scale of the energies are those of all frames, not of those of one rank."""

    def configure(args: argparse.Namespace, train_loader: Any, *others: Any, **named: Any) -> Any:
        return configure_model(args, of_all_frames(train_loader), *others, **named)

    return configure


def with_neighbors_of_all(average: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """The mean number of neighbours is that of all frames."""

    def get_avg_num_neighbors(
        head_configs: Any, args: argparse.Namespace, train_loader: Any, device: Any
    ) -> float:
        return float(average(head_configs, args, of_all_frames(train_loader), device))

    return get_avg_num_neighbors


def with_whole_gradient(take_step: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Steps of L-BFGS have the gradient of the loss of all ranks.

    MACE adds the losses of the ranks, each divided by the number of all frames, while
    ``DistributedDataParallel`` takes the mean of their gradients: a line search would be misled.
    """

    def take_step_of_all(**named: Any) -> Any:
        if named["distributed"]:
            named["loss_fn"] = WholeGradient(named["loss_fn"])
        return take_step(**named)

    return take_step_of_all


class WholeGradient:
    """A loss with its value, and a gradient as many times as large as there are ranks."""

    def __init__(self, loss_fn: torch.nn.Module) -> None:
        self.loss_fn = loss_fn

    def __call__(self, **named: Any) -> torch.Tensor:
        """The loss of this rank, shape ``()``."""
        loss: torch.Tensor = self.loss_fn(**named)
        return loss.detach() + torch.distributed.get_world_size() * (loss - loss.detach())
