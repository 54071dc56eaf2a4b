"""From a trained model to a metatomic file (``.pt``) that ASE, i-PI and LAMMPS run."""

import copy
import dataclasses
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.data
import torch
from e3nn.util import jit
from mace.tools.torch_tools import default_dtype
from metatomic.torch import AtomisticModel, ModelCapabilities

from mace_smile.errors import UserError
from mace_smile.model.field_order import field_order_of
from mace_smile.model.given_charges import check_total_charge, fixes_total_charge
from mace_smile.model.net_charge import CONSEQUENCE, NetChargeRule
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.atomistic_model import FiniteFieldModel
from metatensor_models.frame_check import FrameCheck
from metatensor_models.interaction_range import interaction_range
from metatensor_models.metadata import model_metadata
from metatensor_models.options import ExportOptions
from metatensor_models.outputs import declare_outputs
from metatensor_models.self_check import check_exported

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def export_model(
    model: SmileMACE,
    output: str | Path,
    options: ExportOptions,
    dtype: str | None = None,
    overwrite: bool = False,
    name: str = "mace-smile",
    frame: FrameCheck | None = None,
) -> Path:
    """Write an exported model; it appears whole, after it has passed a check, or not at all.

    :param model: left as it is.
    :param output: the file to write.
    :param options: boundary, fields, given charges, head and total charge.
    :param dtype: ``float32`` or ``float64``; None keeps the precision of the model.
    :param overwrite: replace an existing output.
    :param name: of the model, for its metadata.
    :param frame: a structure to check the file with, beside the trial structures.
    :return: the output.
    :raises UserError: for an output that exists or has no folder, and what
        :func:`check_request` refuses.
    """
    output = Path(output)
    if output.exists() and not overwrite:
        raise UserError(f"the output '{output}' exists; choose another -o, or add --overwrite")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UserError(f"the folder '{folder}' of the output does not exist; make it first")
    options = own_boundary(model, options)
    model = with_acoustic_sum_rule(model, options.acoustic_sum_rule)
    check_request(model, options)
    if dtype is not None:
        model = copy.deepcopy(model).to(DTYPES[dtype])
    with (
        torchscript_warnings_ignored(),
        tempfile.TemporaryDirectory(prefix=f".{output.stem}-", dir=folder) as temporary,
    ):
        exported = build_atomistic_model(model, options, name)
        unchecked = Path(temporary) / output.name
        exported.save(unchecked)
        eager = eager_atomistic_model(model, options)
        check_exported(unchecked, eager, options.fields)
        if frame is not None:
            for line in frame.check(unchecked, eager):
                logger.info(line)
        os.replace(unchecked, output)
    logger.info("wrote %s: %s", output, exported.metadata().description)
    return output


def with_acoustic_sum_rule(model: SmileMACE, rule: str | None) -> SmileMACE:
    """The model with another acoustic sum rule of its Born charges, or as it is.

    :param model: left as it is; a changed one is a copy.
    :param rule: ``subtract`` or ``none``; None keeps what the model has.
    :raises UserError: for a model without Born charges, and in ``global`` and ``local`` screening
        for what their options refuse.
    """
    if rule is None or rule == model.options.acoustic_sum_rule:
        return model
    if not model.options.has_born_charges:
        raise UserError(
            f"`--acoustic_sum_rule {rule}` has no effect on a model without Born effective "
            "charges; leave it out"
        )
    changed = copy.deepcopy(model)
    changed.options = dataclasses.replace(model.options, acoustic_sum_rule=rule)
    changed.subtracts_residual = rule == "subtract"
    return changed


@contextmanager
def torchscript_warnings_ignored() -> Iterator[None]:
    """Keep quiet about TorchScript being on its way out: metatomic has nothing else yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "The TorchScript type system", UserWarning)
        yield


def own_boundary(model: SmileMACE, options: ExportOptions) -> ExportOptions:
    """The options with the model's own boundary where none was asked for."""
    own = model.options.boundary
    if options.boundary == "auto":
        axis = model.options.slab_axis if own == "slab" else options.slab_axis
        return dataclasses.replace(options, boundary=own, slab_axis=axis)
    return options


def check_request(model: SmileMACE, options: ExportOptions) -> None:
    """Refuse what the model cannot do.

    :raises UserError: for a field without Born charges, an order of the response that the model
        does not have or a vacuum field not, given charges without a dipole or of
        unknown elements, a total charge without a dipole, one that the given charges contradict
        or that the model was trained to refuse, a head that is missing, or a backbone that
        needs inputs which engines do not give.
    """
    options.head_index(model.heads)
    smile = model.options
    if smile.boundary not in ("auto", options.boundary):
        logger.warning(
            "the model was trained with --boundary %s and is exported with --boundary %s",
            smile.boundary,
            options.boundary,
        )
    if options.fields and not smile.has_born_charges:
        what = "charges but no" if smile.has_charges else "neither charges nor"
        raise UserError(
            f"`--field` was given but the model has {what} Born effective charges, so no field "
            "can act on it; train it with --screening uncoupled or local on frames with Born "
            "charges, or with --screening global and --screening_value"
        )
    if smile.has_coupled_screening and smile.born_charge_method == "minimum_image":
        raise UserError(
            "the model was trained with --born_charge_method minimum_image, which works in Python "
            "only and takes one derivative for each atom; train it with --born_charge_method "
            "unfolded or phase"
        )
    if options.field_kind == "vacuum" and not options.fields:
        raise UserError("`--field_kind vacuum` has no effect without --field; name a field")
    if options.field_order is not None and not options.fields:
        raise UserError("`--field_order` has no effect without --field; name a field")
    order = field_order_of(smile, options.field_order)
    if options.field_kind == "vacuum" and order == 2:
        raise UserError(
            "`--field_kind vacuum` acts to first order only: how the polarizability of a slab "
            "screens the field outside has not been worked out; add --field_order 1, or give the "
            "macroscopic field"
        )
    if options.total_charge != 0 and not smile.has_dipole:
        raise UserError("`--total_charge` has no effect on a model without charges; leave it out")
    check_net_charge(smile, float(model.r_max), options, model.scale_value())
    if options.given_charges is not None:
        if not smile.has_dipole:
            raise UserError(
                "`--given_charges` was given but the model has no charges; train it with "
                "--charge_head local or --dipole_head local"
            )
        known = set(model.atomic_numbers.tolist())
        unknown = sorted(set(options.given_charges.atomic_numbers.tolist()) - known)
        if unknown:
            raise UserError(
                "the frame of `--given_charges` has the elements "
                f"{', '.join(ase.data.chemical_symbols[number] for number in unknown)}, which "
                "the model does not know"
            )
        if fixes_total_charge(smile):
            given = options.given_charges
            try:
                check_total_charge(
                    given.charges, given.mask, options.total_charge, smile.has_charges
                )
            except UserError as error:
                raise UserError(f"`--given_charges` and `--total_charge`: {error}") from error
    elif smile.given_charges_key is not None:
        logger.warning(
            "the model was trained with given charges but is exported without: all charges will "
            "be predicted; --given_charges FRAME.xyz stores those of a frame"
        )
    if hasattr(model.backbone, "joint_embedding"):
        raise UserError(
            "the backbone embeds further inputs (such as spin), which simulation engines do not "
            "give; it cannot be exported"
        )


def check_net_charge(
    smile: SmileOptions, r_max: float, options: ExportOptions, scale: float | None = None
) -> None:
    """Say what a total charge costs in periodic cells.

    :param smile: options of the model.
    :param r_max: cutoff of its backbone in A.
    :param options: of the export, with the boundary that is stored.
    :param scale: factor s of the model as it is now; None: of the options.
    :raises UserError: where the model was trained with ``--net_charge error`` and the stored
        boundary allows periodic cells.
    """
    rule = NetChargeRule.of_model(smile, r_max, scale)
    charge = options.total_charge
    if charge == 0.0 or not rule.needs_background or options.boundary not in ("auto", "periodic"):
        return
    if smile.net_charge == "error":
        raise UserError(
            f"`--total_charge` is {charge:g}, but the model was trained with "
            f"--net_charge error and `--boundary {options.boundary}` allows periodic cells; export "
            "without --total_charge, with --boundary open (or slab) if the structures have no "
            "other boundary, or train with --net_charge warn"
        )
    logger.warning(
        "in cells that are periodic along three axes a uniform background neutralises the total "
        "charge of %g e: at a volume of 1000 A^3 (less in larger cells) %s; %s",
        charge,
        rule.energies(charge, 1000.0).describe(),
        CONSEQUENCE,
    )


def declared_range(model: SmileMACE, options: ExportOptions) -> float:
    """Interaction range of the file in A; infinite where an output of an atom depends on all.

    Born charges from which a mean over all atoms is subtracted do, although energies may not.
    """
    smile = model.options
    is_polarized = bool(options.fields) and field_order_of(smile, options.field_order) == 2
    subtracts = smile.has_born_charges and smile.acoustic_sum_rule == "subtract"
    return interaction_range(
        smile.is_local and not subtracts,
        float(model.r_max) * int(model.num_interactions),
        smile.has_coupled_screening or is_polarized,
    )


def build_atomistic_model(
    model: SmileMACE, options: ExportOptions, name: str = "mace-smile"
) -> AtomisticModel:
    """The model compiled and wrapped for metatomic, in the precision it has.

    :param model: left as it is; a copy is compiled.
    :param options: of the export; its boundary holds, not the model's.
    :param name: for the metadata.
    """
    with default_dtype(model.r_max.dtype):
        compiled = jit.compile(prepared_copy(model))
    return wrap_for_metatomic(compiled, model, options, name)


def eager_atomistic_model(model: SmileMACE, options: ExportOptions) -> AtomisticModel:
    """The same as :func:`build_atomistic_model` without compilation, for comparison."""
    return wrap_for_metatomic(prepared_copy(model), model, options, "eager")


def prepared_copy(model: SmileMACE) -> SmileMACE:
    """A copy for the export: the boundary comes with each structure."""
    prepared = copy.deepcopy(model).eval()
    prepared.boundary = "auto"
    return prepared


def wrap_for_metatomic(
    module: torch.nn.Module, model: SmileMACE, options: ExportOptions, name: str
) -> AtomisticModel:
    """A module with SmileMACE's forward as a metatomic model."""
    capabilities = ModelCapabilities(
        outputs=declare_outputs(model.options, options.fields, options.field_kind),
        atomic_types=[int(number) for number in model.atomic_numbers],
        interaction_range=declared_range(model, options),
        length_unit="angstrom",
        supported_devices=["cuda", "cpu"],
        dtype=str(model.r_max.dtype).removeprefix("torch."),
    )
    wrapped = FiniteFieldModel(module, model, options).eval()
    return AtomisticModel(wrapped, model_metadata(model, options, name), capabilities)
