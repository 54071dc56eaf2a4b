"""Frames with their labels and the node features of a frozen backbone, computed once.

The labels take the route of ``mace_smile_run_train``: the plan of a run says where they are,
how they are completed and weighted.
"""

import argparse
import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ase
import ase.io
import torch
from mace.data import AtomicData, config_from_atoms
from mace.modules import ScaleShiftMACE
from mace.tools import AtomicNumberTable, torch_geometric
from tqdm import tqdm

from mace_smile.model.smile_mace import SmileMACE
from mace_smile.structures import check_elements
from mace_smile.training.input_files import files_by_head
from mace_smile.training.labels import LabelSettings, check_labels, with_complete_labels
from mace_smile.training.survey import key_specification


@dataclass(frozen=True)
class FrozenFrames:
    """Frames that heads are trained on."""

    atoms: list[ase.Atoms]
    """The frames as they were read."""
    structures: list[AtomicData]
    """The frames as entries of a batch, with labels."""
    node_feats: list[torch.Tensor]
    """Features of all layers, ``(n_atoms, n_features)`` for each frame."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.atoms)

    @cached_property
    def singles(self) -> list[Any]:
        """Each frame as a batch of its own."""
        return [torch_geometric.Batch.from_data_list([one]) for one in self.structures]

    @cached_property
    def together(self) -> tuple[Any, torch.Tensor]:
        """All frames as one batch, and their features."""
        return torch_geometric.Batch.from_data_list(self.structures), torch.cat(self.node_feats)

    def counting(self, numbers: Sequence[int]) -> tuple[Any, torch.Tensor]:
        """All frames as one batch in which only some count, and their features.

        :param numbers: of the frames that keep their weight; that of the others is zero.
        """
        batch, node_feats = self.together
        counts = torch.zeros_like(batch.weight)
        counts[list(numbers)] = 1.0
        batch = copy.copy(batch)
        batch.weight = counts * batch.weight
        return batch, node_feats

    def digest(self) -> str:
        """A hash of structures and labels, by which stored results are recognised."""
        result = hashlib.sha256()
        for structure in self.structures:
            for name, value in sorted(structure.to_dict().items()):
                if isinstance(value, torch.Tensor) and "edge" not in name:
                    result.update(name.encode())
                    result.update(value.cpu().numpy().tobytes())
        return result.hexdigest()


def predict(model: SmileMACE, batch: Any, node_feats: torch.Tensor) -> dict[str, torch.Tensor]:
    """Charges and dipoles of a batch from stored features.

    :param batch: of structures, as :class:`FrozenFrames` makes it.
    :param node_feats: shape ``(n_atoms, n_features)``.
    """
    data = batch.to_dict()
    result: dict[str, torch.Tensor] = model.polarize(
        node_feats, data, data["positions"], data["cell"].view(-1, 3, 3)
    )
    return result


def read_frames(
    args: argparse.Namespace, settings: LabelSettings, role: str, backbone: ScaleShiftMACE
) -> FrozenFrames:
    """Read frames and compute their features.

    :param args: of the run; their files have passed the checks of the plan.
    :param settings: labels that are wanted.
    :param role: ``train_file`` or ``valid_file``.
    :param backbone: in the precision and on the device of the training.
    :raises UserError: for an element the backbone does not know.
    """
    table = AtomicNumberTable([int(z) for z in backbone.atomic_numbers])
    from_config = with_complete_labels(AtomicData.from_config, settings)
    frames: list[ase.Atoms] = []
    structures = []
    for head, files in files_by_head(args).items():
        keys = key_specification(args, head)
        for path in files[role]:
            for atoms in ase.io.iread(path, index=":"):
                if len(atoms) == 1 and atoms.info.get("config_type") == "IsolatedAtom":
                    continue
                check_elements(atoms, table)
                config = config_from_atoms(atoms, key_specification=keys)
                check_labels(config)
                structures.append(from_config(config, table, float(backbone.r_max)))
                frames.append(atoms)
    return FrozenFrames(frames, structures, compute_features(backbone, structures))


def compute_features(
    backbone: ScaleShiftMACE, structures: Sequence[AtomicData]
) -> list[torch.Tensor]:
    """Node features of each structure, shape ``(n_atoms, n_features)``.

    Frames of one geometry share them.
    """
    known: dict[bytes, torch.Tensor] = {}
    features = []
    for structure in tqdm(structures, desc="features", unit="frame", disable=None):
        geometry = b"".join(
            value.cpu().numpy().tobytes()
            for value in (structure.positions, structure.cell, structure.node_attrs, structure.pbc)
        )
        if geometry not in known:
            batch = torch_geometric.Batch.from_data_list([structure]).to_dict()
            with torch.enable_grad():
                output = backbone(batch, compute_force=False)
            known[geometry] = output["node_feats"].detach()
        features.append(known[geometry])
    return features
