"""The same model with other Born effective charges: another factor, or another screening.

What is fitted after the training must not change what was trained:

.. math::

    U(q) \\text{ stays}, \\qquad \\tilde q_i = s\\, q_i

with the energy charges q as they are. Given charges and the total charge are physical and enter the
energy as Q / s, so a model, or a structure, that has them is refused where charges have an energy.
"""

import dataclasses
from typing import Any

from mace.tools.torch_tools import default_dtype

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE


def check_rescaling(options: SmileOptions) -> None:
    """Refuse models that have no factor to set, or whose energy depends on it.

    :raises UserError: saying why, and what to do instead.
    """
    if options.screening == "uncoupled":
        raise UserError(
            "the model has --screening uncoupled: its Born charges are a readout of their own, "
            "which no factor changes; give a model that was trained with --screening none or global"
        )
    if options.has_local_screening:
        raise UserError(
            "the model has --screening local: the factors of its atoms are learned from Born "
            "charges already; give a model that was trained with --screening none or global"
        )
    if not options.has_charges:
        raise UserError(
            "the model has no charges, so there is nothing to scale; train one with --charge_head "
            "local"
        )
    if options.has_electrostatics and options.given_charges_key is not None:
        raise UserError(
            f"the model has given charges ('{options.given_charges_key}'), which enter its energy "
            "as Q / s: another factor s would change the energy; train with the factor as "
            "--screening_value, or without given charges"
        )
    if options.dipoles_in_energy:
        raise UserError(
            "the atomic dipoles of the model enter its energy as d / s: another factor s would "
            "change the energy; train with the factor as --screening_value"
        )


def depends_on_total_charge(options: SmileOptions) -> bool:
    """Whether the energy of a charged structure depends on the factor, as Q / s."""
    return options.has_electrostatics and options.total_charge_constraint == "exact"


def with_screening_value(
    model: SmileMACE, value: float, born_charge_method: str | None = None
) -> SmileMACE:
    """The model with ``--screening global`` and a fixed factor; energies and charges stay.

    :param model: shares its backbone and heads with the result; where ``unfolded`` follows edges,
        its convolutions are recorded from then on (:mod:`mace_smile.model.recorder`).
    :param value: the factor s, not zero.
    :param born_charge_method: of the result; None: that of the model.
    :raises UserError: for what :func:`check_rescaling` refuses, a factor that is zero or not
        finite, and a backbone that the method cannot follow.
    """
    check_rescaling(model.options)
    return with_screening(
        model,
        screening="global",
        screening_value=float(value),
        learn_screening_value=False,
        born_charge_method=born_charge_method or model.options.born_charge_method,
    )


def with_screening(model: SmileMACE, **changes: Any) -> SmileMACE:
    """The model with other options of its Born effective charges, and all heads it has.

    :param model: shares its backbone and heads with the result, as in
        :func:`with_screening_value`; heads it does not have are new.
    :param changes: fields of the options.
    :raises UserError: for options that are not allowed, or that the backbone cannot have.
    """
    try:
        options = dataclasses.replace(model.options, **changes)
        with default_dtype(model.r_max.dtype):
            result = SmileMACE(model.backbone, options)
    except ValueError as error:
        raise UserError(f"the screening cannot be set: {error}") from error
    for name in result.charge_heads:
        if name in model.charge_heads:
            result.charge_heads[name] = model.charge_heads[name]
    if options.has_electrostatics:
        result.long_range = model.long_range
    return result.to(model.r_max.device).train(model.training)
