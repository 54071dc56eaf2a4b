"""Findings as a table and as JSON."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prettytable import PrettyTable

from mace_smile.atomic_write import complete_or_absent
from mace_smile.selftest.finding import Finding, worst_of_each


def table_of(findings: list[Finding]) -> str:
    """The worst finding of each check and quantity, a row each."""
    columns = ["check", "quantity", "error", "tolerance", "unit", "frame", "result", "note"]
    table = PrettyTable(columns)
    table.align = "l"
    table.align["error"] = table.align["tolerance"] = "r"
    for finding in worst_of_each(findings):
        table.add_row(
            [
                finding.check,
                finding.quantity,
                _number(finding.error),
                _number(finding.tolerance),
                finding.unit,
                finding.frame,
                finding.result,
                finding.note,
            ]
        )
    return str(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def summary_of(findings: list[Finding]) -> str:
    """How many rows passed, failed and did not apply, in one line."""
    results = [finding.result for finding in worst_of_each(findings)]
    counts = {name: results.count(name) for name in ("pass", "FAIL", "skipped")}
    return f"{counts['pass']} passed, {counts['FAIL']} failed, {counts['skipped']} skipped"


def has_failed(findings: list[Finding]) -> bool:
    """Whether any finding is beyond its tolerance."""
    return any(finding.result == "FAIL" for finding in findings)


def write_json(path: str | Path, findings: list[Finding], facts: dict[str, Any]) -> None:
    """Write all findings of all structures; errors that are no numbers become null.

    :param facts: what else is to be told: files, precision, settings.
    """
    rows = []
    for finding in findings:
        row = asdict(finding) | {"result": finding.result}
        if finding.error is not None and not math.isfinite(finding.error):
            row["error"] = None
        rows.append(row)
    text = json.dumps({**facts, "passed": not has_failed(findings), "findings": rows}, indent=1)
    with complete_or_absent(path) as temporary:
        temporary.write_text(text + "\n")
