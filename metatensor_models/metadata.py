"""What an exported model says about itself: description, references and stored settings."""

import torch
from metatomic.torch import ModelMetadata

import mace_smile
from mace_smile.model.field_order import field_order_of
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.field_settings import field_settings, with_fields
from metatensor_models.fields import units_of
from metatensor_models.options import ExportOptions
from metatensor_models.outputs import declare_outputs

#: References that every exported model carries, in metatomic's three groups.
REFERENCES = {
    "implementation": [
        "torch-pme: https://doi.org/10.1063/5.0251713",
        "metatensor and metatomic: https://docs.metatensor.org/metatomic",
    ],
    "architecture": [
        "MACE: https://doi.org/10.48550/arXiv.2206.07697",
        "macro-dipole relation (SMILE-CP): https://doi.org/10.48550/arXiv.2510.01042",
        "static and dynamic charges: https://doi.org/10.48550/arXiv.2601.03656",
    ],
}


def describe_model(model: SmileMACE, options: ExportOptions) -> str:
    """A sentence for people on what the energy is."""
    smile = model.options
    parts = [f"MACE ({int(model.num_interactions)} layers, cutoff {float(model.r_max):g} A)"]
    if smile.has_charges:
        parts.append(f"charges (total charge {smile.total_charge_constraint})")
    if smile.has_atomic_dipoles:
        carriers = (
            "all elements" if smile.dipole_elements is None else ", ".join(smile.dipole_elements)
        )
        parts.append(f"atomic dipoles ({carriers})")
    if smile.has_electrostatics:
        readout = f"{smile.long_range_readout} readout"
        readout += ", with atomic dipoles" if smile.dipoles_in_energy else ""
        parts.append(f"electrostatics ({smile.electrostatics}, {smile.coulomb_terms}, {readout})")
    if smile.has_born_charges:
        parts.append(f"Born effective charges ({describe_screening(model)})")
    if smile.has_polarizability:
        parts.append("polarizability")
    return " + ".join(parts) + f"; boundary {options.boundary}."


def describe_screening(model: SmileMACE) -> str:
    """Where Born effective charges come from, with the factor and the method they take."""
    smile = model.options
    if not smile.has_coupled_screening:
        return smile.screening
    return f"{smile.screening} {model.scale_value():.4g}, {smile.born_charge_method}"


def electrostatics_settings(smile: SmileOptions, r_max: float) -> dict[str, object]:
    """How the electrostatic sum is done, with numbers in place of what was left to defaults.

    :param smile: options of the model.
    :param r_max: cutoff of the backbone in A.
    :return: ``electrostatics``, which is ``none`` for a model without; else also
        ``coulomb_terms``, ``smearing``, ``long_range_readout``, ``long_range_channels``,
        ``dipoles_in_energy``, ``net_charge`` and, where the method uses them,
        ``lr_wavelength``, ``mesh_spacing``, ``ewald_atoms`` and ``coulomb_cutoff``; lengths in A.
    """
    if not smile.has_electrostatics:
        return {"electrostatics": "none"}
    parameters = smile.coulomb_parameters(r_max)
    settings: dict[str, object] = {
        "electrostatics": parameters.method,
        "coulomb_terms": parameters.terms,
        "smearing": parameters.smearing,
        "long_range_readout": smile.long_range_readout,
        "long_range_channels": smile.long_range_channels,
        "dipoles_in_energy": smile.dipoles_in_energy,
        "net_charge": smile.net_charge,
    }
    if parameters.uses_ewald:
        settings["lr_wavelength"] = parameters.lr_wavelength
    if parameters.uses_mesh:
        settings["mesh_spacing"] = parameters.mesh_spacing
    if parameters.method == "auto":
        settings["ewald_atoms"] = parameters.ewald_atoms
    if parameters.terms == "full":
        settings["coulomb_cutoff"] = parameters.cutoff
    return settings


def model_metadata(model: SmileMACE, options: ExportOptions, name: str) -> ModelMetadata:
    """Metadata of an exported model.

    :param model: the model.
    :param options: of the export.
    :param name: of the model.
    :return: with ``extra`` entries, all strings: ``format_version``, ``mace_smile_version``,
        ``torch_version``, ``head``, ``r_max``, ``num_interactions``, ``boundary``,
        ``slab_axis``, ``description`` (without the fields), ``training_labels``, ``units`` (JSON),
        ``total_charge``, ``n_given_charges``, the options of the model that fix its physics,
        and what :func:`electrostatics_settings` and
        :func:`~metatensor_models.field_settings.field_settings` give.
    """
    smile = model.options
    given = options.given_charges
    description = describe_model(model, options)
    order = field_order_of(smile, options.field_order)
    is_phase = smile.has_coupled_screening and smile.born_charge_method == "phase"
    extra = {
        "format_version": model.format_version,
        "mace_smile_version": mace_smile.__version__,
        "torch_version": torch.__version__,
        "head": model.heads[options.head_index(model.heads)],
        "r_max": float(model.r_max),
        "num_interactions": int(model.num_interactions),
        "boundary": options.boundary,
        "slab_axis": options.slab_axis,
        "description": description,
        "training_labels": ",".join(smile.training_labels) or "unknown",
        "total_charge": options.total_charge,
        "n_given_charges": 0 if given is None else int((given.mask != 0).sum()),
        "charge_head": smile.charge_head,
        "dipole_head": smile.dipole_head,
        "dipole_elements": ",".join(smile.dipole_elements or ("all",)),
        "total_charge_constraint": smile.total_charge_constraint,
        **electrostatics_settings(smile, float(model.r_max)),
        "screening": smile.screening,
        "screening_value": model.scale_value(),
        "screening_value_learned": smile.learn_screening_value,
        "born_charge_method": smile.born_charge_method if smile.has_coupled_screening else "none",
        "phase_harmonics": smile.phase_harmonics if is_phase else 0,
        "polarizability_head": smile.polarizability_head,
        "acoustic_sum_rule": smile.acoustic_sum_rule,
        "susceptibility": model.susceptibility_value(),
        "susceptibility_learned": smile.learn_susceptibility,
        "given_susceptibility": model.given_susceptibility_value(),
        "given_susceptibility_learned": smile.learn_given_susceptibility,
        "units": units_of(declare_outputs(smile, options.fields, options.field_kind)),
        **field_settings(options.fields, options.voltages, options.field_kind, order),
    }
    return ModelMetadata(
        name=name,
        description=with_fields(description, options.fields, options.field_kind, order),
        authors=[],
        references=REFERENCES,
        extra={key: str(value) for key, value in extra.items()},
    )
