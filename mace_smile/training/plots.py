"""Plots of our quantities while a model is trained, beside those of MACE.

A figure of each head: errors on the validation set over the epochs above, predictions against
labels of all sets below.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mace_smile import quantities
from mace_smile.training.metrics import Metric, kind_of_table, select_metrics
from mace_smile.training.plan import TrainingPlan
from mace_smile.training.substitution import substituted

Results = dict[str, dict[str, Any]]
"""Set, quantity, and then ``reference`` and ``predicted``."""

#: Marker and colour of sets by the beginning of their names; others are test sets.
STYLES = {"train": ("x", "tab:red"), "valid": ("+", "tab:blue"), "": ("o", "tab:gray")}


def predicted(metric: Metric, batch: Any, output: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the errors of a metric are errors of, in its unit and shape."""
    if metric.name == quantities.TOTAL_CHARGE:
        return output["predicted_total_charge"]
    if metric.quantity == quantities.POLARIZABILITY:
        return output[metric.quantity] / (batch.ptr[1:] - batch.ptr[:-1])[:, None, None]
    return output[metric.name]


def with_our_predictions(base: type, metrics: tuple[Metric, ...]) -> type:
    """MACE's collection of predictions and labels, with ours.

    Labels of dipoles along periodic axes are those of the branch next to the prediction.
    """

    class ChargesInference(base):
        """What MACE collects, and charges, dipoles and their derivatives."""

        def __init__(self) -> None:
            super().__init__()
            for metric in metrics:
                self.add_state(f"{metric.name}_predicted", default=[], dist_reduce_fx="cat")
                self.add_state(f"{metric.name}_reference", default=[], dist_reduce_fx="cat")

        def update(self, batch: Any, output: dict[str, torch.Tensor]) -> None:
            """Add the labelled entries of a batch."""
            super().update(batch, output)
            for metric in metrics:
                errors, weights = metric.errors(batch, output)
                values = predicted(metric, batch, output).detach()
                labelled = weights > 0
                getattr(self, f"{metric.name}_predicted").append(values[labelled])
                getattr(self, f"{metric.name}_reference").append(
                    (values - errors.detach())[labelled]
                )

        def compute(self) -> dict[str, Any]:
            """Predictions and labels of each quantity."""
            results: dict[str, Any] = super().compute()
            for metric in metrics:
                results[f"ours_{metric.name}"] = {
                    kind: _joined(getattr(self, f"{metric.name}_{kind}"))
                    for kind in ("predicted", "reference")
                }
            return results

    return ChargesInference


def _joined(values: list[torch.Tensor] | torch.Tensor) -> Any:
    """One array of what was collected; ranks have joined theirs already."""
    joined = torch.cat([value.reshape(-1) for value in values]) if len(values) else torch.zeros(0)
    return joined.cpu().numpy()


def with_extra_plots(plotter: type, plan: TrainingPlan) -> type:
    """A figure of our quantities beside each of MACE's.

    MACE's inference makes all parameters trainable; here those that were frozen stay so.
    """
    metrics = select_metrics(term.name for term in plan.weights)
    module = sys.modules[plotter.__module__]

    class ChargesPlotter(plotter):
        """MACE's figures, and ours."""

        def plot(self, model_epoch: int, model: torch.nn.Module, rank: int) -> None:
            """Write the figures of all heads; without quantities of ours MACE's alone."""
            if not metrics:
                super().plot(model_epoch, model, rank)
                return
            infer: Callable[..., Results] = module.model_inference
            results: Results = {}

            def infer_and_keep(loaders: Any, model: torch.nn.Module, *args: Any) -> Results:
                trainable = [(one, one.requires_grad) for one in model.parameters()]
                found = infer(loaders, model, *args)
                for parameter, flag in trainable:
                    parameter.requires_grad = flag
                results.update(found)
                return found

            collection = with_our_predictions(module.InferenceMetric, metrics)
            try:
                with (
                    substituted(module, "InferenceMetric", collection),
                    substituted(module, "model_inference", infer_and_keep),
                ):
                    super().plot(model_epoch, model, rank)
            finally:  # MACE 0.3.16 cannot draw its own figure with matplotlib 3.11
                if rank == 0:
                    self.draw_charges(model_epoch, results)

        def draw_charges(self, model_epoch: int, results: Results) -> None:
            """Write our figure of each head."""
            is_stage_two = self.swa_start is not None and self.swa_start < model_epoch
            for head in self.heads:
                stage = "stage_two" if is_stage_two else "stage_one"
                path = Path(f"{self.results_dir[:-4]}_{head}_{stage}_charges.png")
                of_head = {name: found for name, found in results.items() if _is_of(name, head)}
                entries = read_validation(Path(self.results_dir), head)
                draw(path, metrics, kind_of_table(self.table_type), entries, of_head)

    return ChargesPlotter


def _is_of(name: str, head: str) -> bool:
    """Whether a set belongs to the figure of a head: its own, and all test sets."""
    return head in name or not name.startswith(("train", "valid"))


def read_validation(path: Path, head: str) -> list[dict[str, Any]]:
    """Errors of a head on its validation set, epoch by epoch.

    :param path: results file of the run.
    """
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        entry
        for entry in entries
        if entry["mode"] == "eval" and entry["head"] == head and entry["epoch"] is not None
    ]


def draw(
    path: Path,
    metrics: tuple[Metric, ...],
    kind: str,
    entries: list[dict[str, Any]],
    results: Results,
) -> None:
    """Write one figure.

    :param path: of the figure.
    :param metrics: one column each.
    :param kind: ``rmse`` or ``mae``.
    :param entries: errors of each epoch.
    :param results: predictions and labels of each set.
    """
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", figsize=(4.0 * len(metrics), 7.0))
    axes = figure.subplots(2, len(metrics), squeeze=False)
    for above, below, metric in zip(axes[0], axes[1], metrics, strict=True):
        name = f"{kind}_{metric.name}"
        known = [entry for entry in entries if name in entry]
        above.plot([one["epoch"] for one in known], [1e3 * one[name] for one in known], "o-")
        above.set(xlabel="epoch", ylabel=f"{kind.upper()} {metric.title} / {metric.unit}")
        if known and all(one[name] > 0 for one in known):
            above.set_yscale("log")
        for of_set, found in results.items():
            values = found[f"ours_{metric.name}"]
            start = next(start for start in STYLES if of_set.startswith(start))
            marker, color = STYLES[start]
            below.scatter(
                values["reference"], values["predicted"], marker=marker, color=color, label=of_set
            )
        below.axline((0.0, 0.0), slope=1.0, color="black", linestyle="--", linewidth=0.8)
        unit = metric.unit.removeprefix("m")
        below.set(xlabel=f"label / {unit}", ylabel=f"{metric.title} / {unit}")
    if results:
        axes[1][0].legend()
    figure.savefig(path, dpi=200)
