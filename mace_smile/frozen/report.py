"""Tables and files of the frozen training and of the scan, and the figure of the scan."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from prettytable import PrettyTable

from mace_smile.frozen.frames import FrozenFrames, predict
from mace_smile.frozen.scan import ScanResult
from mace_smile.frozen.statistics import Estimate
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.metrics import select_metrics


def error_table(
    model: SmileMACE, sets: Sequence[tuple[str, FrozenFrames]], names: Sequence[str]
) -> PrettyTable:
    """Errors of each trained label on each set of frames.

    :param sets: name and frames.
    :param names: quantities whose labels were trained.
    """
    table = PrettyTable(["set", "label", "unit", "values", "MAE", "RMSE"])
    table.align = "r"
    table.align["set"] = table.align["label"] = "l"
    for title, frames in sets:
        batch, node_feats = frames.together
        with torch.no_grad():
            output = predict(model, batch, node_feats)
        for metric in select_metrics(names):
            errors, weights = metric.errors(batch, output)
            labelled = 1e3 * errors[weights > 0]
            if labelled.numel() == 0:
                continue
            table.add_row(
                [
                    title,
                    metric.title,
                    metric.unit,
                    labelled.numel(),
                    f"{labelled.abs().mean():.2f}",
                    f"{labelled.square().mean().sqrt():.2f}",
                ]
            )
    return table


def scan_table(result: ScanResult) -> PrettyTable:
    """Errors for each susceptibility."""
    table = PrettyTable(["chi", "RMSE / e A", "+-", "fixed charges / e A"])
    table.align = "r"
    for row in zip(
        result.susceptibilities, result.rmse, result.rmse_error, result.fixed_rmse, strict=True
    ):
        table.add_row([f"{row[0]:.3g}", *(f"{value:.4f}" for value in row[1:])])
    return table


def _text(estimate: Estimate, digits: int = 3) -> str:
    """A number with its error."""
    return f"{estimate.value:.{digits}f} +- {estimate.error:.{digits}f}"


def scan_summary(result: ScanResult) -> list[str]:
    """What a scan found, in sentences."""
    lines = [
        f"{result.n_frames} frames in {result.n_groups} groups, {result.n_folds} folds; errors by "
        "bootstrap over groups",
        f"minimum at chi = {_text(result.minimum)} (68 %: {result.minimum.low:.3f} to "
        f"{result.minimum.high:.3f}), RMSE {_text(result.best_rmse, 4)} e A",
    ]
    if result.is_at_end:
        lines.append("the lowest point is an end of the list: give more --susceptibilities there")
    if result.pairs is None:
        lines.append("no frames of equal geometry with different given charges tell chi directly")
    else:
        lines.append(
            f"straight from {result.pairs.n_geometries} geometries with several given charges: chi "
            f"= {result.pairs.susceptibility:.3f} +- {result.pairs.error:.3f} (deviation from one "
            f"slope for all {1e3 * result.pairs.nonlinearity:.2f} me A)"
        )
        if result.pairs.susceptibility < -1.0:
            lines.append(
                "1 + chi is negative there: the dipoles or the given charges have the wrong sign "
                "(dipoles are in e A, from - to +)"
            )
    lines += [
        f"chi = 0 (SMILE0): RMSE {_text(result.smile0_rmse, 4)} e A, "
        f"{_text(result.smile0_ratio, 2)} times that at the minimum",
        f"one fixed charge an element: RMSE {_text(result.best_fixed_rmse, 4)} e A at its best chi "
        f"= {result.best_fixed:.3g}; at the minimum it is {_text(result.fixed_ratio, 2)} times "
        f"that (paired difference {_text(result.fixed_difference, 4)} e A)",
    ]
    return lines


def write_scan(result: ScanResult, stem: Path, settings: dict[str, Any]) -> None:
    """Write ``STEM.csv`` (the table) and ``STEM.json`` (everything).

    :param settings: what was run, for the record.
    """
    with stem.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["susceptibility", "rmse_e_A", "rmse_error_e_A", "fixed_charges_rmse_e_A"])
        columns = (result.susceptibilities, result.rmse, result.rmse_error, result.fixed_rmse)
        for chi, *errors in zip(*columns, strict=True):
            writer.writerow([chi, *(f"{error:.6f}" for error in errors)])
    content = {"settings": settings, **result.as_dictionary()}
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def draw_scan(result: ScanResult, path: Path) -> None:
    """Draw the error against chi with the minimum and its uncertainty marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.errorbar(
        result.susceptibilities, result.rmse, result.rmse_error, fmt="o-", ms=4, label="this model"
    )
    axes.plot(result.susceptibilities, result.fixed_rmse, "s--", ms=3, label="fixed charges")
    minimum = result.minimum
    axes.axvline(minimum.value, color="C3", lw=1)
    axes.axvspan(
        minimum.value - minimum.error,
        minimum.value + minimum.error,
        color="C3",
        alpha=0.2,
        lw=0,
        label=f"minimum {minimum.value:.2f} ± {minimum.error:.2f}",
    )
    if result.pairs is not None:
        axes.axvline(
            result.pairs.susceptibility,
            color="k",
            ls=":",
            label=f"equal geometries {result.pairs.susceptibility:.3f}",
        )
    axes.set_xlabel(r"susceptibility $\chi$")
    axes.set_ylabel(r"cross-validated RMSE of the dipole / e$\,$Å")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=200)
