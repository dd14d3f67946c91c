"""One thread for the many small tensors of the checks."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """More threads only wait for each other here."""
    torch.set_num_threads(1)
