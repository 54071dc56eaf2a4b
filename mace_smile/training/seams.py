"""What stands in place of the names that MACE's training script looks up.

Each function takes the original and the plan of the run, and returns what replaces it: the
original is called, and what charges need is added. The list of all is in
:mod:`~mace_smile.training.mace_bridge`.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import get_rank, is_initialized

from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.electrostatics_checks import as_flags
from mace_smile.training.fine_tuning import copy_heads, with_smile_models
from mace_smile.training.fine_tuning_seams import NoTerms
from mace_smile.training.kept_energy import make_kept_model
from mace_smile.training.labels import add_label_keys, with_complete_labels
from mace_smile.training.losses import WithExtraTerms
from mace_smile.training.metrics import (
    add_columns,
    select_metrics,
    with_extra_errors,
    with_extra_log_line,
)
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.substitution import substituted

logger = logging.getLogger(__name__)


def with_label_keys(update_keyspec: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Seam 1: our labels are read too, with keys of their own for each head."""

    def update_keyspec_from_kwargs(keyspec: Any, keydict: dict[str, Any]) -> Any:
        return add_label_keys(update_keyspec(keyspec, keydict), keydict)

    return update_keyspec_from_kwargs


def with_labels(from_config: Callable[..., Any], plan: TrainingPlan) -> Any:
    """Seam 2: every structure, on any route into a batch, has complete labels."""
    return staticmethod(with_complete_labels(from_config, plan.labels))


def with_charges(configure_model: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Seam 3: the model MACE builds becomes the backbone of a SmileMACE."""

    def configure(
        args: argparse.Namespace,
        train_loader: Any,
        atomic_energies: Any,
        model_foundation: torch.nn.Module | None = None,
        *others: Any,
        **named: Any,
    ) -> tuple[SmileMACE, dict[str, bool]]:
        foundation = model_foundation
        if isinstance(model_foundation, SmileMACE):
            foundation = model_foundation.backbone
        backbone, output_args = configure_model(
            args, train_loader, atomic_energies, foundation, *others, **named
        )
        source = model_foundation
        try:
            if plan.start is not None and plan.start.keeps_energy:
                source = plan.start.model  # with all its heads
                model = make_kept_model(source, plan.options)
            else:
                model = SmileMACE(backbone, plan.options)
        except ValueError as error:
            raise as_flags(error) from error
        if isinstance(source, SmileMACE):
            copy_heads(model, source)
        if not (args.lora or plan.uses_cuequivariance):  # their parameters come later
            plan.progress.check_model(model)
        plan.progress.model = model
        return model, output_args

    return configure


def with_head_parameters(
    get_params_options: Callable[..., Any], plan: TrainingPlan
) -> Callable[..., Any]:
    """Seam 4: one more group of parameters, ``charge_heads``, with all but the backbone's.

    Those of the backbone are MACE's choice.
    """

    def get_all_params_options(args: argparse.Namespace, model: torch.nn.Module) -> dict[str, Any]:
        options: dict[str, Any] = get_params_options(args, model.backbone)
        groups = options["params"]
        for group in groups:
            group["params"] = list(group["params"])
        factors = json.loads(args.lr_params_factors)
        groups.append(
            {
                "name": "charge_heads",
                "params": [p for name, p in model.named_parameters() if _is_ours(name)],
                "weight_decay": 0.0,
                "lr": factors.get("charge_heads_lr_factor", 1.0) * args.lr,
            }
        )
        check_each_parameter_once(model, groups)
        if not args.lbfgs:  # L-BFGS has one group, made later
            plan.progress.check_groups(groups)
        return options

    return get_all_params_options


#: Where MACE has parameters that it does not train.
LEFT_OUT = "backbone.radial_embedding."


def _is_ours(name: str) -> bool:
    """Whether a parameter belongs to our heads and not to the MACE they are built on."""
    return not name.startswith("backbone.")


def check_each_parameter_once(model: torch.nn.Module, groups: list[dict[str, Any]]) -> None:
    """Make sure that the optimizer sees every trainable parameter once.

    MACE leaves out the radial basis, which it makes trainable in a foundation model.

    :raises RuntimeError: naming those it does not.
    """
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    wrong = [
        f"{name} ({counts[id(parameter)]} times)"
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and counts[id(parameter)] not in ((0, 1) if name.startswith(LEFT_OUT) else (1,))
    ]
    if wrong:
        raise RuntimeError(f"the optimizer must hold each parameter once, not {', '.join(wrong)}")


def with_extra_terms(get_loss_fn: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Seam 5: MACE's loss, whichever it is, and the terms of our labels."""

    def get_loss_with_terms(*args: Any, **named: Any) -> torch.nn.Module:
        plan.log()
        of_mace = NoTerms() if plan.keeps_energy else get_loss_fn(*args, **named)
        loss = WithExtraTerms(of_mace, plan.terms())
        plan.progress.set_loss(False, loss)
        return loss

    return get_loss_with_terms


def with_extra_terms_in_stage_two(
    get_swa: Callable[..., Any], plan: TrainingPlan
) -> Callable[..., Any]:
    """Seam 5: the same in stage two, with its own weights."""

    def get_swa_with_terms(*args: Any, **named: Any) -> tuple[Any, list[bool]]:
        swa, swas = get_swa(*args, **named)
        of_mace = NoTerms() if plan.keeps_energy else swa.loss_fn
        swa.loss_fn = WithExtraTerms(of_mace, plan.terms(stage_two=True))
        plan.progress.set_loss(True, swa.loss_fn)
        logger.info("Loss of stage two: %s", swa.loss_fn)
        return swa, swas

    return get_swa_with_terms


def with_extra_metrics(mace_loss: type, plan: TrainingPlan) -> type:
    """Seam 6: validation and final errors of our quantities, over all ranks."""
    return with_extra_errors(mace_loss, select_metrics(term.name for term in plan.weights))


def without_idle_derivatives(
    evaluate: Callable[..., Any], plan: TrainingPlan
) -> Callable[..., Any]:
    """Seam 6: validation derives no Born effective charges that are compared with no labels."""

    def evaluate_labels(*args: Any, **named: Any) -> Any:
        model = plan.progress.model
        if model is None or not plan.labels.ignores_born_effective_charges:
            return evaluate(*args, **named)
        hook = model.register_forward_pre_hook(
            lambda _, batches, flags: (batches, {**flags, "compute_born_charges": False}),
            with_kwargs=True,
        )
        try:
            return evaluate(*args, **named)
        finally:
            hook.remove()

    return evaluate_labels


def with_extra_log(valid_err_log: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Seam 7: one more line in the log; the validation loss is kept for checkpoints."""
    log = with_extra_log_line(
        valid_err_log,
        select_metrics(term.name for term in plan.weights),
        lambda: learned_numbers(plan.progress.model),
    )

    def log_and_keep(
        valid_loss: float,
        eval_metrics: dict[str, Any],
        logger: Any,
        log_errors: str,
        epoch: int | None = None,
        valid_loader_name: str = "Default",
    ) -> None:
        plan.progress.begin()
        plan.progress.validation_loss = float(valid_loss)
        plan.progress.errors[valid_loader_name] = eval_metrics
        if is_initialized() and get_rank() > 0:  # MACE lets all ranks write what is before training
            return
        log(valid_loss, eval_metrics, logger, log_errors, epoch, valid_loader_name)

    return log_and_keep


def learned_numbers(model: SmileMACE | None) -> dict[str, float]:
    """What a model has learned of susceptibilities and screening, by the names of their flags."""
    values: dict[str, float] = {}
    if model is not None and model.options.learn_susceptibility:
        values["susceptibility"] = model.susceptibility_value()
    if model is not None and model.options.learn_given_susceptibility:
        values["given_susceptibility"] = model.given_susceptibility_value()
    if model is not None and model.options.learn_screening_value:
        values["screening_value"] = model.scale_value()
    return values


def with_extra_columns(
    create_error_table: Callable[..., Any], plan: TrainingPlan
) -> Callable[..., Any]:
    """Seam 8: columns in the final tables, from the errors MACE evaluates for its own."""
    tables = sys.modules[create_error_table.__module__]
    metrics = select_metrics(term.name for term in plan.weights)

    def create_table_with_columns(table_type: str, *args: Any, **named: Any) -> Any:
        rows: list[dict[str, Any]] = []
        evaluate = without_idle_derivatives(tables.evaluate, plan)

        def evaluate_and_keep(*args: Any, **named: Any) -> tuple[float, dict[str, Any]]:
            loss, errors = evaluate(*args, **named)
            rows.append(errors)
            plan.progress.final_errors = errors
            return loss, errors

        with substituted(tables, "evaluate", evaluate_and_keep):
            table = create_error_table(table_type, *args, **named)
        add_columns(table, table_type, metrics, rows)
        return table

    return create_table_with_columns


def with_heads_kept(remove_pt_head: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """Seam 9: one head of a foundation model that is ours."""
    return with_smile_models(remove_pt_head)
