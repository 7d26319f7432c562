"""Fixed seeds."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers whichever tests run."""
    torch.manual_seed(5)
