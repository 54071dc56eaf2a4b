"""Training with cuEquivariance (`--enable_cueq`): the backbone is converted, and back in each file.

MACE converts whole models, by their class. Here its functions convert the backbone of a SmileMACE;
the heads stay, and see node features in the order in which e3nn keeps them.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from e3nn import o3

from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.plan import TrainingPlan


class NodeFeaturesOfE3nn:
    """A forward hook of a backbone whose features are stored component by component.

    cuEquivariance keeps them channel by channel within a component (`ir_mul`), e3nn component by
    component within a channel (`mul_ir`).

    :param layers: irreps of the node features, layer by layer.
    """

    def __init__(self, layers: list[o3.Irreps]) -> None:
        columns: list[torch.Tensor] = []
        for layer in layers:
            for mul, ir in layer:
                start = sum(block.numel() for block in columns)
                columns.append(start + torch.arange(mul * ir.dim).view(ir.dim, mul).T.flatten())
        self.columns = torch.cat(columns)

    def __call__(
        self, backbone: torch.nn.Module, data: Any, output: dict[str, Any]
    ) -> dict[str, Any]:
        """MACE's outputs, with node features in the order of e3nn."""
        features = output["node_feats"]
        self.columns = self.columns.to(features.device)
        return {**output, "node_feats": features[:, self.columns]}


def fuse_backbone(model: SmileMACE, convert: Callable[..., Any]) -> None:
    """Convert the backbone to cuEquivariance, in place.

    :param convert: MACE's ``run`` of ``mace.cli.convert_e3nn_cueq``.
    :raises RuntimeError: when parameters got lost on the way.
    """
    products: Any = model.products
    layers = [o3.Irreps(str(product.linear.irreps_out)) for product in products]
    fused = _converted(model.backbone, convert)
    fused.register_forward_hook(NodeFeaturesOfE3nn(layers))
    model.backbone = fused


def with_fused_backbone(
    get_params_options: Callable[..., Any], plan: TrainingPlan, convert: Callable[..., Any]
) -> Callable[..., Any]:
    """Convert the backbone right before the optimizer is made, where MACE does it.

    MACE asserts that the whole model is of a class it knows, so its own flag is held back until
    then; from here on it makes MACE convert back what it stores.
    """

    def get_options_of_fused(args: argparse.Namespace, model: torch.nn.Module) -> Any:
        if plan.uses_cuequivariance:
            assert isinstance(model, SmileMACE)
            fuse_backbone(model, convert)
            plan.progress.check_model(model)
            args.enable_cueq = True
        return get_params_options(args, model)

    return get_options_of_fused


def with_plain_backbone(convert: Callable[..., Any], plan: TrainingPlan) -> Callable[..., Any]:
    """A model that is stored has a backbone of e3nn, on the device of its heads."""

    def convert_model(model: SmileMACE, *args: Any, **named: Any) -> SmileMACE:
        model.backbone = _converted(model.backbone, convert)
        return model

    return convert_model


def _converted(backbone: torch.nn.Module, convert: Callable[..., Any]) -> Any:
    """The other version of a backbone, on the same device, with the same parameters frozen."""
    device = next(backbone.parameters()).device
    result: torch.nn.Module = convert(backbone, device=device).to(device)
    source = dict(backbone.named_parameters())
    # MACE makes a parameter of a foundation model's radial basis, which is a buffer elsewhere.
    names = source.keys() | dict(result.named_parameters()).keys()
    _check_complete(
        *(
            {name: value for name, value in one.state_dict().items() if name in names}
            for one in (backbone, result)
        )
    )
    trained = {_module_of(name) for name, value in source.items() if value.requires_grad}
    for name, value in result.named_parameters():
        value.requires_grad_(_module_of(name) in trained)
    return result.train(backbone.training)


def _module_of(name: str) -> str:
    """What has one name in both versions: a parameter, or all those of one contraction."""
    head, found, _ = name.partition("symmetric_contractions.")
    return head + found


def _check_complete(source: Mapping[str, torch.Tensor], result: Mapping[str, torch.Tensor]) -> None:
    """MACE leaves out, without a word, what has another name or another size.

    :raises RuntimeError: naming the parameters.
    """
    wanted, found = (
        {name: value.detach().flatten() for name, value in one.items() if _module_of(name) == name}
        for one in (source, result)
    )
    lost = [
        name
        for name in sorted(wanted.keys() | found.keys())
        if name not in wanted
        or name not in found
        or not torch.equal(wanted[name], found[name].to(wanted[name].device))
    ]
    if lost:
        raise RuntimeError(f"cuEquivariance and e3nn differ in {', '.join(lost)}")
