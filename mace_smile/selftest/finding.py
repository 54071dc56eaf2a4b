"""One row of a self-test: what was compared, how far it was off, and how far it may be."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Finding:
    """An error against its tolerance, or the reason why there is none."""

    check: str
    """The check it belongs to."""
    quantity: str
    """What was compared."""
    unit: str = ""
    """Of the error and the tolerance."""
    error: float | None = None
    """Largest deviation; None where the check does not apply."""
    tolerance: float | None = None
    """Largest error that passes."""
    note: str = ""
    """What else is to be said, or why the check does not apply."""
    frame: int = 0
    """Number of the structure."""

    @property
    def result(self) -> str:
        """``pass``, ``FAIL`` or ``skipped``; an error that is no number fails."""
        if self.error is None or self.tolerance is None:
            return "skipped"
        return "pass" if self.error <= self.tolerance else "FAIL"

    @property
    def severity(self) -> float:
        """Error in units of its tolerance; below zero where the check does not apply."""
        if self.error is None or self.tolerance is None:
            return -1.0
        return self.error / self.tolerance if np.isfinite(self.error) else np.inf


def compare(
    check: str,
    quantity: str,
    unit: str,
    found: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
    note: str = "",
) -> Finding:
    """The largest deviation of two arrays of one shape, and what is allowed.

    :param tolerance: where the largest expected component is at most 1; else times that.
    """
    error = float(np.abs(found - expected).max(initial=0.0))
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return Finding(check, quantity, unit, error, tolerance * scale, note)


def skipped(check: str, quantity: str, reason: str) -> Finding:
    """A check that does not apply."""
    return Finding(check, quantity, note=reason)


def worst_of_each(findings: list[Finding]) -> list[Finding]:
    """One finding for each check and quantity: the one furthest beyond its tolerance."""
    worst: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.check, finding.quantity)
        if key not in worst or finding.severity > worst[key].severity:
            worst[key] = finding
    return list(worst.values())
