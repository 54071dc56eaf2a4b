"""Charges of slabs: predicted by a model, or from an array of the structures."""

from collections.abc import Iterator, Sequence

import ase
import numpy as np
from mace.tools import torch_geometric
from mace.tools.torch_tools import default_dtype
from tqdm import tqdm

from mace_smile import quantities
from mace_smile.analysis.slabs import ChargedSlab, charge_slab, read_slab
from mace_smile.errors import UserError
from mace_smile.evaluation.evaluator import ModelEvaluator
from mace_smile.model.smile_mace import SmileMACE


def slab_axis_of_model(model: SmileMACE, slab_axis: int | None) -> int | None:
    """The axis across structures that are periodic along three axes, None if none is.

    :param model: whose boundary decides.
    :param slab_axis: asked for by the user; None leaves it to the model.
    :raises UserError: for a model that knows no slabs, or another axis.
    """
    boundary = model.options.boundary
    if boundary in ("open", "periodic"):
        raise UserError(
            f"the model was trained with --boundary {boundary}, so it knows no slabs; train one "
            "with --boundary auto or slab"
        )
    if boundary == "slab":
        own = model.options.slab_axis
        if slab_axis not in (None, own):
            raise UserError(
                f"--slab_axis is {slab_axis} but the model was trained with {own}; leave it out"
            )
        return own
    return slab_axis


def slabs_of_model(
    evaluator: ModelEvaluator,
    frames: Sequence[ase.Atoms],
    names: Sequence[str],
    slab_axis: int | None,
    batch_size: int,
    progress: bool,
) -> list[ChargedSlab]:
    """Slabs with the response charges and atomic dipoles of a model.

    :param evaluator: of the model.
    :param frames: the structures.
    :param names: of the structures, for messages.
    :param slab_axis: the axis across structures that are periodic along all three.
    :param batch_size: structures in one call.
    :param progress: show a bar.
    :raises UserError: for structures or a model that cannot be used.
    """
    model = evaluator.model
    axis = slab_axis_of_model(model, slab_axis)
    slabs: list[ChargedSlab] = []
    with tqdm(total=len(frames), unit="frame", disable=not progress) as bar:
        for start in range(0, len(frames), batch_size):
            group, titles = frames[start : start + batch_size], names[start : start + batch_size]
            read = [read_slab(atoms, axis, name) for atoms, name in zip(group, titles, strict=True)]
            parts = _model_charges(evaluator, group, titles)
            for slab, (charges, dipoles, is_given) in zip(read, parts, strict=True):
                slabs.append(charge_slab(slab, charges, dipoles, is_given))
            bar.update(len(group))
    return slabs


def _model_charges(
    evaluator: ModelEvaluator, frames: Sequence[ase.Atoms], names: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Response charges in e, atomic dipoles in e A and the mask of given charges, by structure."""
    with default_dtype(evaluator.dtype):
        data = [evaluator.structure(atoms, name) for atoms, name in zip(frames, names, strict=True)]
        batch = torch_geometric.Batch.from_data_list(data).to(evaluator.device)
        structures = batch.to_dict()
        output = evaluator.model(structures, compute_force=False)
    charges = output["response_charges"]
    if charges is None:
        raise UserError(
            "the model predicts neither charges nor dipoles; train one with --charge_head local "
            "or --dipole_head local, or take charges of the structures (--charges_key)"
        )
    dipoles = output[quantities.ATOMIC_DIPOLES]
    mask = structures.get(quantities.GIVEN_MASK)
    for first, last in zip(batch.ptr[:-1].tolist(), batch.ptr[1:].tolist(), strict=True):
        n_atoms = last - first
        yield (
            charges[first:last].detach().cpu().double().numpy(),
            np.zeros((n_atoms, 3))
            if dipoles is None
            else dipoles[first:last].detach().cpu().double().numpy(),
            np.zeros(n_atoms, dtype=bool)
            if mask is None
            else mask[first:last].reshape(-1).cpu().numpy() != 0,
        )


def slabs_of_arrays(
    frames: Sequence[ase.Atoms],
    names: Sequence[str],
    charges_key: str,
    mask_key: str | None,
    slab_axis: int | None,
) -> list[ChargedSlab]:
    """Slabs with the charges of an array of the structures, without atomic dipoles.

    :param frames: the structures.
    :param names: of the structures, for messages.
    :param charges_key: array of all charges in e, shape ``(n_atoms,)``.
    :param mask_key: array that is non-zero where charges are given; None: nowhere.
    :param slab_axis: the axis across structures that are periodic along all three.
    :raises UserError: for structures that cannot be used, or without the arrays.
    """
    slabs: list[ChargedSlab] = []
    for atoms, name in zip(frames, names, strict=True):
        charges = per_atom(atoms, charges_key, "--charges_key", name)
        is_given = np.zeros(len(atoms), dtype=bool)
        if mask_key is not None:
            is_given = per_atom(atoms, mask_key, "--given_mask_key", name) != 0
        slab = read_slab(atoms, slab_axis, name)
        slabs.append(charge_slab(slab, charges, np.zeros((len(atoms), 3)), is_given))
    return slabs


def copy_arrays(
    frame: ase.Atoms, frames: Sequence[ase.Atoms], names: Sequence[str], keys: Sequence[str]
) -> list[ase.Atoms]:
    """Structures with some arrays of one frame, for trajectories that hold none.

    :param frame: with one number an atom under each key.
    :param frames: the structures, with the atoms of the frame in its order.
    :param names: of the structures, for messages.
    :param keys: of the arrays.
    :return: copies of the structures.
    :raises UserError: for missing arrays, and other atoms.
    """
    arrays = {key: per_atom(frame, key, "of the model", "--given_charges") for key in keys}
    copies: list[ase.Atoms] = []
    for atoms, name in zip(frames, names, strict=True):
        if not np.array_equal(atoms.numbers, frame.numbers):
            raise UserError(
                f"{name} has the atoms {atoms.get_chemical_formula()} and --given_charges "
                f"{frame.get_chemical_formula()}, but they must be the same in the same order"
            )
        copy = atoms.copy()
        for key, values in arrays.items():
            copy.arrays[key] = values.copy()
        copies.append(copy)
    return copies


def per_atom(atoms: ase.Atoms, key: str, flag: str, name: str) -> np.ndarray:
    """One number an atom from an array of a structure, shape ``(n_atoms,)``.

    :raises UserError: for a key that is missing, or another shape.
    """
    values = atoms.arrays.get(key)
    if values is None and key == "charges" and atoms.calc is not None:
        values = atoms.calc.results.get(key)  # ASE's readers put this column there
    if values is None:
        raise UserError(
            f"{name} has no array '{key}' ({flag}); it has {', '.join(sorted(atoms.arrays))}"
        )
    if values.size != len(atoms) or values.dtype.kind not in "iufb":
        raise UserError(
            f"the array '{key}' of {name} has shape {values.shape} but must have one number an atom"
        )
    return np.asarray(values, dtype=float).reshape(-1)
