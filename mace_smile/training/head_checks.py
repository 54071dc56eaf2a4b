"""The settings of each head in `--heads`, and names of heads in other flags."""

import argparse
import difflib
from collections.abc import Callable
from typing import Any

from mace.tools.default_keys import DefaultKeys

from mace_smile.errors import UserError
from mace_smile.io.born_order import ORDERS
from mace_smile.training.flags import LABEL_KEYS
from mace_smile.training.input_files import heads_of
from mace_smile.training.literals import is_number, read_elements, read_weights
from mace_smile.training.number_checks import RANGES


def _is_text(value: Any) -> bool:
    """Whether a setting is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def _is_path(value: Any) -> bool:
    """Whether a setting is the path of a file, or a list of paths."""
    return _is_text(value) or (isinstance(value, list) and all(_is_text(one) for one in value))


def _is_map(value: Any) -> bool:
    """Whether a setting is a dictionary from names to keys of labels."""
    return isinstance(value, dict) and all(
        _is_text(name) and _is_text(key) for name, key in value.items()
    )


def _is_embedding(value: Any) -> bool:
    """Whether a setting says which labels are embedded."""
    return isinstance(value, dict) and all(
        isinstance(one, dict) and one.get("per") in ("graph", "atom") for one in value.values()
    )


def _is_read_by(read: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Whether a text can be read."""

    def is_readable(value: Any) -> bool:
        try:
            read(value)
        except ValueError:
            return False
        return True

    return is_readable


#: What settings of a head may be, and that in words. Those are MACE's, and ours.
Kind = tuple[Callable[[Any], bool], str]
KEYS = (*DefaultKeys.keydict(), *LABEL_KEYS, "given_charges_key", "given_mask_key")
SETTINGS: dict[str, Kind] = {
    **dict.fromkeys(
        ("train_file", "valid_file", "test_file"), (_is_path, "a path or a list of paths")
    ),
    **dict.fromkeys((*KEYS, "polarization_key"), (_is_text, "the name of a key")),
    **dict.fromkeys(("test_dir", "statistics_file"), (_is_text, "a path")),
    **dict.fromkeys(
        ("info_keys", "arrays_keys"), (_is_map, "a dictionary from names of labels to keys")
    ),
    **dict.fromkeys(
        ("valid_fraction", "mean", "std", "avg_num_neighbors"), (is_number, "a number")
    ),
    **dict.fromkeys(
        ("keep_isolated_atoms", "compute_avg_num_neighbors"),
        (lambda value: isinstance(value, bool), "True or False"),
    ),
    "E0s": (_is_text, "a text: a dictionary in quotes, a JSON file of one, or average"),
    "atomic_numbers": (_is_read_by(read_elements), "a list in quotes such as '[1, 8]'"),
    "config_type_weights": (
        _is_read_by(read_weights),
        "a dictionary in quotes such as '{\"Default\": 1.0}', of weights that are not negative",
    ),
    "embedding_specs": (_is_embedding, "a dictionary of dictionaries with per: graph or atom"),
    "becs_order": (lambda value: value in ORDERS, " or ".join(ORDERS)),
}


def check_heads(args: argparse.Namespace) -> None:
    """Refuse settings of heads that MACE would skip, or stop at.

    :raises UserError: naming head and setting.
    """
    heads = heads_of(args)
    if args.heads is not None and not heads:
        raise UserError("--heads names no head; leave it out, or give a dictionary of heads")
    for head, settings in heads.items():
        if not _is_text(head):
            raise UserError(f"--heads has a head called {head!r} but a name must be a text")
        for name, value in settings.items():
            _check_setting(head, name, value)
    if args.foundation_head is not None and args.foundation_model is None:
        raise UserError("--foundation_head has no effect here: use --foundation_model too")
    loaders = [f"{role}_{head}" for head in heads or ("Default",) for role in ("train", "valid")]
    skipped = (args.skip_evaluate_heads or "").split(",") if args.skip_evaluate_heads else []
    for name in skipped:
        # MACE compares with parts of names; pt_head is its default, whether there is one or not.
        if name != "pt_head" and not (name and any(name in loader for loader in loaders)):
            raise UserError(
                f"--skip_evaluate_heads has '{name}', which is no head of this run; it has "
                f"{', '.join(heads or ('Default',))}"
            )


def _check_setting(head: str, name: Any, value: Any) -> None:
    """Refuse a setting that nothing reads, or a value that it cannot have."""
    if name not in SETTINGS:
        close = difflib.get_close_matches(str(name), SETTINGS, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(SETTINGS))}"
        raise UserError(f"head '{head}' of --heads has a setting {name!r}, which is none; {hint}")
    fits, kind = SETTINGS[name]
    if value is None:
        return
    if not fits(value):
        raise UserError(f"{name} of head '{head}' is {value!r} but must be {kind}")
    if name in RANGES and not RANGES[name].holds(value):
        raise UserError(f"{name} of head '{head}' is {value:g} but must be {RANGES[name]}")


def check_foundation_head(name: str | None, model: Any) -> None:
    """Refuse a head that a foundation model does not have.

    :param name: of `--foundation_head`.
    :param model: the foundation model.
    :raises UserError: with the heads it has.
    """
    heads = list(getattr(model, "heads", None) or ["Default"])
    if name is not None and name not in heads:
        raise UserError(
            f"--foundation_head is '{name}' but the foundation model has {', '.join(heads)}"
        )
