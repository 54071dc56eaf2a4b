"""Format version of stored models, and one upgrade function a step.

The state of a stored :class:`~mace_smile.model.smile_mace.SmileMACE` says the version it was
written with. A newer one is refused with a sentence; an older one is brought up to date by
the functions in ``UPGRADES``, in order.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from mace.tools.torch_tools import default_dtype

from mace_smile.errors import UserError
from mace_smile.model.long_range import Hardness, LongRange
from mace_smile.model.options import SmileOptions

#: Version of the models this package writes.
FORMAT_VERSION = 7


def _with_all_fields(old: SmileOptions) -> SmileOptions:
    """Options of an older format: fields it did not have get their defaults."""
    return SmileOptions(**{field.name: getattr(old, field.name) for field in fields(SmileOptions)})


def _from_1(state: dict[str, Any]) -> dict[str, Any]:
    """Format 2 has one module for all Coulomb sums, and options for them."""
    options = _with_all_fields(state["options"])
    modules = dict(state["_modules"])
    if modules.pop("electrostatics", None) is not None:
        r_max = state["_buffers"]["r_max"]
        with default_dtype(r_max.dtype):
            long_range = LongRange(options.coulomb_parameters(float(r_max)), has_second_list=False)
        modules["long_range"] = long_range.to(device=r_max.device)
    flags = {
        "has_learned_readout": False,
        "has_hidden_charges": False,
        "minimum_gap": float(state["_buffers"]["r_max"]),
    }
    return {**state, **flags, "options": options, "_modules": modules}


def _from_2(state: dict[str, Any]) -> dict[str, Any]:
    """Format 3 has a hardness of the elements, which is zero in older models."""
    modules = dict(state["_modules"])
    long_range = modules.get("long_range")
    if long_range is not None:
        r_max = state["_buffers"]["r_max"]
        hardness = Hardness(len(state["_buffers"]["atomic_numbers"]), 1.0)
        torch.nn.init.zeros_(hardness.relative)
        modules["charge_heads"]["hardness"] = hardness.to(dtype=r_max.dtype, device=r_max.device)
    return {**state, "_modules": modules}


def _from_3(state: dict[str, Any]) -> dict[str, Any]:
    """Format 4 has atomic dipoles, and susceptibilities that may be learned or differ."""
    options = _with_all_fields(state["options"])
    flags = {
        "has_dipole": options.has_dipole,
        "has_atomic_dipoles": False,
        "learns_susceptibility": False,
        "learns_given_susceptibility": False,
        "has_given_susceptibility": False,
        "given_susceptibility": 0.0,
        "scale_follows": False,
    }
    return {**state, **flags, "options": options}


def _from_4(state: dict[str, Any]) -> dict[str, Any]:
    """Format 5 has Born effective charges that are derivatives of charges and dipoles."""
    options = _with_all_fields(state["options"])
    n_layers, r_max = state["_buffers"]["num_interactions"], state["_buffers"]["r_max"]
    flags = {
        "learns_scale": False,
        "has_local_screening": False,
        "has_coupled_screening": False,
        "follows_edges": False,
        "born_charge_method": options.born_charge_method,
        "phase_harmonics": options.phase_harmonics,
        "subtracts_residual": False,
        "receptive_field": float(r_max) * int(n_layers),
    }
    return {**state, **flags, "options": options}


def _from_5(state: dict[str, Any]) -> dict[str, Any]:
    """Format 6 has polarizabilities, and atomic dipoles in the energy."""
    options = _with_all_fields(state["options"])
    flags = {"has_polarizability": False, "has_dipoles_in_energy": False}
    return {**state, **flags, "options": options}


def _from_6(state: dict[str, Any]) -> dict[str, Any]:
    """Format 7 knows the labels of the training, which older models do not tell."""
    return {**state, "options": _with_all_fields(state["options"])}


#: Upgrade functions: ``UPGRADES[n]`` turns a state of version n into one of version n + 1.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
    5: _from_5,
    6: _from_6,
}


def upgrade(state: dict[str, Any]) -> dict[str, Any]:
    """Bring the state of a stored model up to the present version.

    :param state: the pickled dictionary of the module, with ``format_version``.
    :return: the dictionary as the present code expects it.
    :raises UserError: for a version that is newer than this package, or has no way up.
    """
    version = state.get("format_version")
    if not isinstance(version, int):
        raise UserError(
            "the model file has no `format_version` and was not written by mace-smile; "
            "train it with mace_smile_run_train"
        )
    if version > FORMAT_VERSION:
        raise UserError(
            f"the model file has format version {version} but this mace-smile reads versions up "
            f"to {FORMAT_VERSION}; install a newer mace-smile"
        )
    while version < FORMAT_VERSION:
        if version not in UPGRADES:
            raise UserError(
                f"the model file has format version {version}, which this mace-smile can no "
                "longer read; load and save it with an older one first"
            )
        state = UPGRADES[version](state)
        version += 1
        state["format_version"] = version
    return state
