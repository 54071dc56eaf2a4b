"""What the fit of a screening factor found, as tables and as numbers for a file."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from prettytable import PrettyTable

from mace_smile.evaluation.screening_factor import FITS
from mace_smile.frozen.statistics import Estimate

#: Standard deviations that a factor must be away from zero to be told from it.
CLEAR_SIGN = 2.0


@dataclass(frozen=True)
class GroupFit:
    """Factors of some components, fitted to them alone."""

    n_frames: int
    """Frames that have such components."""
    n_atoms: int
    """Their atoms."""
    factors: dict[str, Estimate]
    """By the name of the fit; empty where the charges are zero."""
    errors: dict[str, tuple[float, float]]
    """Mean absolute and root mean square error in e with the factors that all components gave, by
    the name of the fit, and with that of the model as it was (``before``)."""


BEFORE = "before"


@dataclass(frozen=True)
class ScreeningReport:
    """Fits to all components and to groups of them."""

    fit: str
    """The fit whose factor is written."""
    before: float
    """Factor of the model as it was."""
    overall: GroupFit
    """All components."""
    groups: dict[str, GroupFit]
    """Elements and classes of frames."""

    @property
    def value(self) -> float:
        """The factor that is written."""
        return self.overall.factors[self.fit].value

    def has_clear_sign(self) -> bool:
        """Whether both fits give a factor of one sign, away from zero by its uncertainty."""
        estimates = list(self.overall.factors.values())
        same = len({math.copysign(1.0, estimate.value) for estimate in estimates}) == 1
        return same and not any(abs(e.value) < CLEAR_SIGN * e.error for e in estimates)

    def table(self) -> str:
        """Both factors with their uncertainties and errors, and that of the model as it was."""
        table = PrettyTable(["fit", "factor", "error", "16 %", "84 %", "MAE / e", "RMSE / e"])
        table.align = "r"
        table.align["fit"] = "l"
        for fit in FITS:
            estimate = self.overall.factors[fit]
            spread = (estimate.error, estimate.low, estimate.high)
            cells = [_number(x) for x in (estimate.value, *spread, *self.overall.errors[fit])]
            table.add_row([fit + (" (written)" if fit == self.fit else ""), *cells])
        errors = [_number(x) for x in self.overall.errors[BEFORE]]
        table.add_row(["model as it was", _number(self.before), "-", "-", "-", *errors])
        return str(table)

    def group_table(self) -> str:
        """Factors fitted to each group alone, and the errors there with the one that is written."""
        names = ["of", "frames", "atoms", *FITS, "MAE / e", "RMSE / e"]
        table = PrettyTable(names)
        table.align = "r"
        table.align["of"] = "l"
        for name, group in self.groups.items():
            factors = [_with_error(group.factors.get(fit)) for fit in FITS]
            errors = [_number(x) for x in group.errors[self.fit]]
            table.add_row([name, group.n_frames, group.n_atoms, *factors, *errors])
        return str(table)

    def content(self) -> dict[str, Any]:
        """All numbers, for a JSON file; what is not known is None."""
        return {
            "fit": self.fit,
            "screening_value": self.value,
            "screening_value_before": self.before,
            "all": _group_content(self.overall),
            "groups": {name: _group_content(group) for name, group in self.groups.items()},
        }


def _number(value: float) -> str:
    """Four decimals, or a dash for what is not known."""
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _with_error(estimate: Estimate | None) -> str:
    """A factor and its uncertainty, as far as they are known."""
    if estimate is None:
        return "-"
    error = f" +- {estimate.error:.4f}" if math.isfinite(estimate.error) else ""
    return f"{estimate.value:.4f}{error}"


def _group_content(group: GroupFit) -> dict[str, Any]:
    """Numbers of one group."""
    factors = {
        fit: {k: v if math.isfinite(v) else None for k, v in dataclasses.asdict(estimate).items()}
        for fit, estimate in group.factors.items()
    }
    errors = {name: {"mae": mae, "rmse": rmse} for name, (mae, rmse) in group.errors.items()}
    return {
        "frames": group.n_frames,
        "atoms": group.n_atoms,
        "factors": factors,
        "errors_with_overall_factors": errors,
    }
