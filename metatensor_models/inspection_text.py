"""The report of a file as text: a heading and indented lines for each of its parts."""

from typing import Any

#: Parts that are told in the first block, in this order, where a report has them.
FIRST = (
    "file",
    "kind",
    "name",
    "description",
    "format_version",
    "elements",
    "dtype",
    "devices",
    "length_unit",
    "cutoff in A",
    "layers",
    "heads",
    "parameters",
    "interaction_range",
    "neighbor_lists",
    "training_labels",
    "metatomic_version",
    "exported",
)


def one_line(value: Any) -> str:
    """A value without brackets and quotation marks."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {one_line(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(one_line(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def block(entries: dict[str, Any]) -> list[str]:
    """Lines of one part, with the names in a column."""
    width = max((len(name) for name in entries), default=0)
    return [f"  {name:{width}s}  {one_line(value)}" for name, value in entries.items()]


def outputs_block(outputs: dict[str, Any]) -> list[str]:
    """Lines of the outputs: name, unit, what has one, meaning."""
    width = max(len(name) for name in outputs)
    return [
        f"  {name:{width}s}  {output['unit']:10s}  {output['of each']:6s}  {output['description']}"
        for name, output in outputs.items()
    ]


def report_text(report: dict[str, Any]) -> str:
    """The whole report.

    :param report: of :mod:`metatensor_models.inspection` or
        :mod:`metatensor_models.model_inspection`.
    """
    lines = block({name: report[name] for name in FIRST if name in report})
    lines += ["", "outputs (unit, of each, meaning)", *outputs_block(report["outputs"])]
    if report.get("fields"):
        lines += ["", "fields", *block(report["fields"])]
    for variant, engines in report.get("engines", {}).items():
        title = variant if variant == "no field" else f"the field {variant}"
        lines += ["", f"{title}, in each engine", *block(engines)]
    lines += ["", "settings (lengths in A, charges in e)", *block(report["settings"])]
    for group, texts in report.get("references", {}).items():
        lines += ["", f"references, {group}", *(f"  {text}" for text in texts)]
    return "\n".join(lines)
