"""Warnings of MACE and its dependencies that training in this process cannot avoid."""

import pytest

UNAVOIDABLE = (
    "ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD:UserWarning",
    "ignore:The TorchScript type system:UserWarning",
    "ignore:`torch.jit:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of this directory pass over them."""
    for item in items:
        if "tests/training" in item.path.as_posix():
            for warning in UNAVOIDABLE:
                item.add_marker(pytest.mark.filterwarnings(warning))
