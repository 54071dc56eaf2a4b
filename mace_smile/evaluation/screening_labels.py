"""Born charges of a model for a factor of one, beside their labels, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
import torch
from mace.tools import torch_geometric
from mace.tools.torch_tools import default_dtype
from tqdm import tqdm

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.evaluation.evaluator import ModelEvaluator
from mace_smile.evaluation.screening_factor import Components
from mace_smile.io.born_files import counts, order_of_frames
from mace_smile.io.born_order import born_charges_of, field_first
from mace_smile.io.structure_files import read_structures
from mace_smile.model.options import SmileOptions
from mace_smile.model.rescaling import depends_on_total_charge, with_screening_value
from mace_smile.model.smile_mace import SmileMACE


@dataclass(frozen=True)
class LabelledFrame:
    """A structure with Born charges."""

    atoms: ase.Atoms
    """The structure."""
    labels: np.ndarray
    """Shape ``(n_atoms, 3, 3)``, in e, field index first."""
    name: str
    """File and number, for messages."""
    file: str
    """Where it is from."""


def read_labelled(paths: Sequence[str], key: str, order: str) -> list[LabelledFrame]:
    """All frames with Born charges, those of zero weight left out.

    :param paths: of the files.
    :param key: of the nine columns of the tensors.
    :param order: ``field_first``, ``displacement_first`` or ``auto``.
    :raises UserError: for no labels, another shape, and an order that contradicts the data.
    """
    frames = {path: read_structures(path) for path in paths}
    order = order_of_frames(frames, order, key)
    return [
        LabelledFrame(
            atoms,
            field_first(born_charges_of(atoms, key), order),
            f"{path}, frame {number}",
            Path(path).name,
        )
        for path, of_file in frames.items()
        for number, atoms in enumerate(of_file)
        if counts(atoms, key)
    ]


def check_neutral(frames: Sequence[LabelledFrame], options: SmileOptions) -> bool:
    """Whether all structures are neutral.

    :raises UserError: for a charged one whose energy depends on the factor.
    """
    key = options.total_charge_key
    is_neutral = True
    for frame in frames:
        try:
            charge = float(frame.atoms.info.get(key, 0.0))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{frame.name}: '{key}' is {frame.atoms.info[key]!r} but must be a number, in e"
            ) from error
        is_neutral = is_neutral and charge == 0.0
        if is_neutral or not depends_on_total_charge(options):
            continue
        raise UserError(
            f"{frame.name} has a net charge of {charge:g} e ('{key}'), which enters the "
            "energy as Q / s: another factor s would change the energies of charged structures; "
            "train with the factor as --screening_value, or leave charged structures out"
        )
    return is_neutral


def components_of(
    model: SmileMACE,
    frames: Sequence[LabelledFrame],
    batch_size: int,
    head: str | None = None,
    progress: bool = False,
) -> Components:
    """All components of Born charges, atom by atom and row by row, frame after frame.

    :param model: whose screening can be a factor.
    :param frames: with labels.
    :param batch_size: structures in one call.
    :param head: of a multi-head model; None is the last.
    :param progress: show a bar.
    :raises UserError: for frames that the model refuses.
    """
    options = model.options
    neutral = check_neutral(frames, options)
    plain = neutral and not options.has_atomic_dipoles and options.given_charges_key is None
    with tqdm(total=len(frames) * (2 - plain), unit="frame", disable=not progress) as bar:
        unit = _born_charges(with_screening_value(model, 1.0), frames, batch_size, head, bar)
        labels = np.concatenate([frame.labels.ravel() for frame in frames])
        numbers = np.repeat(np.arange(len(frames)), [frame.labels.size for frame in frames])
        if plain:
            return Components(unit, labels, numbers)
        # Dipoles and physical charges do not scale: what two factors tell apart.
        opposite = _born_charges(with_screening_value(model, -1.0), frames, batch_size, head, bar)
    return Components(0.5 * (unit - opposite), labels - 0.5 * (unit + opposite), numbers)


def _born_charges(
    model: SmileMACE,
    frames: Sequence[LabelledFrame],
    batch_size: int,
    head: str | None,
    bar: tqdm,
) -> np.ndarray:
    """Born charges of a model, all components in a row, shape ``(n,)``, in e."""
    evaluator = ModelEvaluator(model, head=head)
    parts: list[torch.Tensor] = []
    for start in range(0, len(frames), batch_size):
        group = frames[start : start + batch_size]
        with default_dtype(evaluator.dtype):
            structures = [evaluator.structure(frame.atoms, frame.name) for frame in group]
            batch = torch_geometric.Batch.from_data_list(structures).to(evaluator.device)
            output = model(batch.to_dict(), compute_force=False)
        born = output[quantities.BORN_EFFECTIVE_CHARGES]
        assert born is not None
        parts.append(born.detach().cpu().double().reshape(-1))
        bar.update(len(group))
    return torch.cat(parts).numpy()
