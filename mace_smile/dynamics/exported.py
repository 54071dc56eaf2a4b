"""The ASE calculator of an exported model, asked for what a field needs."""

from pathlib import Path
from typing import Any

from metatomic.torch import ModelOutput, load_atomistic_model
from metatomic_ase import MetatomicCalculator

from mace_smile import quantities
from mace_smile.errors import UserError

BORN_CHARGES = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
POLARIZABILITY = quantities.BY_NAME[quantities.POLARIZABILITY].metatomic
RESPONSE_DIPOLE = quantities.BY_NAME[quantities.RESPONSE_DIPOLE].metatomic

#: Outputs that are asked for where the model has them, and whether of each atom or structure.
WANTED = {BORN_CHARGES: "atom", RESPONSE_DIPOLE: "system"}


def exported_calculator(
    path: str | Path, variant: str | None = None, **options: Any
) -> MetatomicCalculator:
    """A ``MetatomicCalculator`` that computes Born charges beside energy and forces.

    :param path: file that ``mace_smile_export`` wrote.
    :param variant: name of a field of the file, which then acts; None for no field, or for one
        that ``FiniteField`` brings.
    :param options: of ``MetatomicCalculator``. Unless they say otherwise, forces are computed
        when they are asked for, and the stress of periodic cells with them: an open structure has
        no volume to divide a stress by.
    :raises UserError: for a file that is not there or no exported model, a field it does not
        have, or a model without Born charges.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no file '{path}'; write it with mace_smile_export")
    try:
        model = load_atomistic_model(str(path))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UserError(
            f"'{path}' cannot be read as an exported model ({reason}); write one with "
            "mace_smile_export"
        ) from error
    outputs = model.capabilities().outputs
    if variant is not None and f"energy/{variant}" not in outputs:
        known = [name.removeprefix("energy/") for name in outputs if name.startswith("energy/")]
        raise UserError(
            f"'{path}' has no field '{variant}'; it has {', '.join(known) or 'none'}; add it "
            "with --field of mace_smile_export"
        )
    if BORN_CHARGES not in outputs:
        raise UserError(
            f"'{path}' has no Born effective charges, so no field can act; export a model that "
            "was trained with --screening"
        )
    wanted = dict(WANTED)
    if variant is not None and model.metadata().extra.get("field_order") == "2":
        wanted[POLARIZABILITY] = "system"
    options = {"do_gradients_with_energy": False, **options}
    return MetatomicCalculator(
        model,
        variants={} if variant is None else {"energy": variant},
        additional_outputs={
            name: ModelOutput(sample_kind=kind) for name, kind in wanted.items() if name in outputs
        },
        **options,
    )
