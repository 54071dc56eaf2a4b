"""MACE with electric charges, macro dipoles and Born effective charges (see docs/)."""

import os

# e3nn 0.4.4 reads its constants with `torch.load`, which refuses them by default since
# torch 2.6; it must be told before e3nn is imported anywhere.
os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

__version__ = "0.1.0"
