"""The parts of the MACE inside, under the names by which MACE's tools look for them."""

import torch
from mace.modules import ScaleShiftMACE


class BackboneParts(torch.nn.Module):
    """A model that holds a MACE as ``backbone``, and is taken for one by MACE's tools."""

    # Named so that MACE's tools find them; e3nn's compiler must not look into them.
    __jit_unused_properties__ = [
        "interactions",
        "products",
        "readouts",
        "node_embedding",
        "radial_embedding",
        "spherical_harmonics",
        "atomic_energies_fn",
        "scale_shift",
    ]
    backbone: ScaleShiftMACE

    @property
    def interactions(self) -> torch.nn.ModuleList:
        """Interaction blocks of the backbone."""
        return self.backbone.interactions

    @property
    def products(self) -> torch.nn.ModuleList:
        """Product blocks of the backbone."""
        return self.backbone.products

    @property
    def readouts(self) -> torch.nn.ModuleList:
        """Energy readouts of the backbone."""
        return self.backbone.readouts

    @property
    def node_embedding(self) -> torch.nn.Module:
        """Element embedding of the backbone."""
        return self.backbone.node_embedding

    @property
    def radial_embedding(self) -> torch.nn.Module:
        """Radial basis of the backbone."""
        return self.backbone.radial_embedding

    @property
    def spherical_harmonics(self) -> torch.nn.Module:
        """Spherical harmonics of the backbone."""
        return self.backbone.spherical_harmonics

    @property
    def atomic_energies_fn(self) -> torch.nn.Module:
        """Isolated-atom energies of the backbone."""
        return self.backbone.atomic_energies_fn

    @property
    def scale_shift(self) -> torch.nn.Module:
        """Scale and shift of the backbone's interaction energy."""
        return self.backbone.scale_shift
