"""Gradient descent for the Born effective charges of a model of which all else stays.

Two readouts can be trained: that of ``uncoupled`` Born charges, on node features which are computed
once, and the factors of ``local`` ones, through the derivatives of the charges. Energies, charges
and everything else of the model have no part in either.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mace.data import AtomicData, KeySpecification
from mace.tools import torch_geometric
from mace.tools.torch_tools import default_dtype
from tqdm import tqdm

from mace_smile import quantities
from mace_smile.evaluation.evaluator import ModelEvaluator
from mace_smile.evaluation.screening_labels import LabelledFrame
from mace_smile.io.born_order import KEY, set_born_charges
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.losses import BornEffectiveCharges, born_effective_charges_errors

logger = logging.getLogger(__name__)

BORN = quantities.BORN_EFFECTIVE_CHARGES
#: The head that is trained, by the screening.
HEADS = {"uncoupled": BORN, "local": "screening"}
#: Lines in the log.
MOST_LINES = 20


@dataclass(frozen=True)
class DescentSettings:
    """How a head is trained."""

    epochs: int = 50
    """Passes over all frames."""
    learning_rate: float = 0.01
    """Of Adam at the start; it falls to zero along a half cosine."""
    batch_size: int = 4
    """Frames in one step."""
    seed: int = 0
    """Of the order of the frames."""


@dataclass(frozen=True)
class Frame:
    """A structure with labels, and what the model makes of it once."""

    data: AtomicData
    """Entry of a batch."""
    node_feats: torch.Tensor | None
    """Features of all layers, shape ``(n_atoms, n_features)``; None where they change."""


def prepare(
    model: SmileMACE, frames: Sequence[LabelledFrame], head: str | None, progress: bool
) -> list[Frame]:
    """Structures with labels, for the screening of a model.

    :param model: with the screening that is trained.
    :param frames: with labels.
    :param head: of a multi-head model; None is the last.
    :raises UserError: for frames that the model refuses.
    """
    evaluator = ModelEvaluator(model, KeySpecification(arrays_keys={BORN: KEY}), head)
    prepared = []
    for frame in tqdm(frames, desc="features", unit="frame", disable=not progress):
        atoms = frame.atoms.copy()
        set_born_charges(atoms, frame.labels)
        with default_dtype(evaluator.dtype):
            data = evaluator.structure(atoms, frame.name)
        features = None
        if model.options.screening == "uncoupled":
            batch = torch_geometric.Batch.from_data_list([data]).to(evaluator.device)
            output = model(batch.to_dict(), compute_force=False, compute_born_charges=False)
            features = output["node_feats"].detach()
        prepared.append(Frame(data, features))
    return prepared


def predict(model: SmileMACE, frames: Sequence[Frame], training: bool) -> tuple[Any, torch.Tensor]:
    """Some frames as one batch, and their Born charges, shape ``(n_atoms, 3, 3)``, in e."""
    batch = torch_geometric.Batch.from_data_list([frame.data for frame in frames])
    batch = batch.to(model.r_max.device)
    features = [frame.node_feats for frame in frames if frame.node_feats is not None]
    if not features:
        output = model(batch.to_dict(), training=training, compute_force=False)
        return batch, output[BORN]
    data = batch.to_dict()
    with torch.set_grad_enabled(training):
        born = model.read_out_born_charges(torch.cat(features), data, training)
        return batch, model.with_acoustic_sum(born, data)[0]


def errors_of(model: SmileMACE, frames: Sequence[Frame], batch_size: int) -> tuple[float, float]:
    """Mean absolute and root mean square error of all components, in e."""
    parts = []
    for start in range(0, len(frames), batch_size):
        batch, born = predict(model, frames[start : start + batch_size], training=False)
        errors, weights = born_effective_charges_errors(batch, {BORN: born})
        parts.append(errors[weights > 0].detach().cpu().double().numpy())
    together = np.concatenate(parts)
    return float(np.abs(together).mean()), float(np.sqrt(np.mean(together**2)))


def train_screening_head(
    model: SmileMACE,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    settings: DescentSettings,
    progress: bool,
) -> None:
    """Train the head of the screening, in place, and keep it as it was when it was best.

    :param model: with a screening of :data:`HEADS`.
    :param train: frames to train on.
    :param valid: frames that tell which epoch was best.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head = model.charge_heads[HEADS[model.options.screening]]
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    term = BornEffectiveCharges(1.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=settings.learning_rate, amsgrad=True)
    n_batches = -(-len(train) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * n_batches)
    generator = np.random.default_rng(settings.seed)
    best = (errors_of(model, valid, settings.batch_size)[1], copy.deepcopy(head.state_dict()))
    stride = max(1, settings.epochs // MOST_LINES)
    for epoch in tqdm(range(settings.epochs), desc="training", disable=not progress):
        order = generator.permutation(len(train))
        loss_sum = 0.0
        for start in range(0, len(order), settings.batch_size):
            chosen = [train[number] for number in order[start : start + settings.batch_size]]
            optimizer.zero_grad()
            batch, born = predict(model, chosen, training=True)
            loss = term(batch, {BORN: born}, ddp=False)
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += float(loss.detach()) * len(chosen)
        mae, rmse = errors_of(model, valid, settings.batch_size)
        if rmse < best[0]:
            best = (rmse, copy.deepcopy(head.state_dict()))
        if epoch % stride == 0 or epoch == settings.epochs - 1:
            logger.info(
                "Epoch %d: loss %.6f e^2, validation MAE %.4f e, RMSE %.4f e",
                epoch,
                loss_sum / len(train),
                mae,
                rmse,
            )
    head.load_state_dict(best[1])
    for parameter in model.parameters():
        parameter.requires_grad_(True)
