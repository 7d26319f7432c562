"""Fixed seeds, random weights, and weights shared with torch's attention."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers whichever tests run."""
    torch.manual_seed(5)


@pytest.fixture
def scramble():
    """Give every parameter a random value, so that none is 0 or 1."""

    def make(module, seed=0, spread=0.1):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += spread * noise
        return module.eval()

    return make


@pytest.fixture
def copy_attention():
    """Give torch's attention the weights of ours."""

    def copy(ours, theirs):
        for kind in ("weight", "bias"):
            parts = [getattr(ours.query, kind), getattr(ours.key_value, kind)]
            joined = torch.cat([part.detach() for part in parts])
            getattr(theirs, f"in_proj_{kind}").data = joined
        theirs.out_proj.load_state_dict(ours.output.state_dict())

    return copy
