"""Fixtures of all tests of training."""

import pytest
import torch

from tests.training.tiny_recipe import finished_runs


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers whichever tests run."""
    torch.manual_seed(5)


@pytest.fixture
def finished(tmp_path_factory):
    """A folder with ``data``, ``pretrain`` and ``finetune``; to read only."""
    return finished_runs(tmp_path_factory.getbasetemp())
