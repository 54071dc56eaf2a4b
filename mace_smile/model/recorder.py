"""What the senders of the edges give to each layer of a MACE, kept while a batch is evaluated.

Born effective charges that follow the edges need these features as tensors of the graph
(:mod:`mace_smile.physics.path_derivatives`), and MACE returns none.
"""

from typing import Any, Dict, Optional

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode
from mace.modules import ScaleShiftMACE

#: Interactions whose messages depend on their sender by the input of the convolution alone.
BLOCKS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
)


@compile_mode("script")
class RecordedProduct(torch.nn.Module):
    """A tensor product over edges that keeps its first input when told to.

    What it keeps is part of no copy and no file.

    :param product: the ``conv_tp`` of an interaction.
    """

    recorded: Optional[torch.Tensor]

    def __init__(self, product: o3.TensorProduct) -> None:
        super().__init__()
        self.product = product
        self.weight_numel: int = product.weight_numel
        self.is_recording = False
        self.recorded = None

    def forward(
        self, sender_features: torch.Tensor, edge_attrs: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """The product, shape ``(n_edges, n_out)``.

        :param sender_features: shape ``(n_edges, n_features)``.
        :param edge_attrs: shape ``(n_edges, n_harmonics)``.
        :param weights: shape ``(n_edges, n_weights)``.
        """
        if self.is_recording:
            self.recorded = sender_features
        return self.product(sender_features, edge_attrs, weights)

    @torch.jit.export
    def start(self) -> None:
        """Keep the first input of the next call."""
        self.is_recording = True
        self.recorded = None

    @torch.jit.export
    def take(self) -> torch.Tensor:
        """The input that was kept, shape ``(n_edges, n_features)``; it is kept no longer."""
        recorded = self.recorded
        assert recorded is not None
        self.recorded = None
        self.is_recording = False
        return recorded

    def __getstate__(self) -> Dict[str, Any]:
        """The state without what is being recorded, for copies and files."""
        return {**self.__dict__, "is_recording": False, "recorded": None}


def obstacle(backbone: ScaleShiftMACE) -> str:
    """Why the sender features of a backbone cannot be told; empty if they can.

    The features of the first layer depend on no position, so it does not count.
    """
    for interaction in backbone.interactions[1:]:
        block, product = type(interaction).__name__, type(interaction.conv_tp).__name__
        if isinstance(interaction.conv_tp, RecordedProduct):
            continue
        if not isinstance(interaction.conv_tp, o3.TensorProduct) or hasattr(
            interaction, "conv_fusion"
        ):
            return f"its convolutions are fused ({product}, of cuEquivariance or OpenEquivariance)"
        if block not in BLOCKS:
            return f"its layers are {block}, which have other messages"
    return ""


def record_sender_features(backbone: ScaleShiftMACE) -> None:
    """Put a :class:`RecordedProduct` around the convolutions of all layers but the first.

    Convolutions that are recorded already stay as they are.

    :param backbone: one without an :func:`obstacle`, changed in place; its results stay the same.
    """
    for interaction in backbone.interactions[1:]:
        if not isinstance(interaction.conv_tp, RecordedProduct):
            interaction.conv_tp = RecordedProduct(interaction.conv_tp)
