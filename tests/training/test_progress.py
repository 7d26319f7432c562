import random

import numpy as np
import torch

from nar_asr_lobes.training.progress import random_state, set_random_state


def draw():
    return random.random(), np.random.random(), torch.rand(1).item()


def test_random_streams_go_on_where_they_were(tmp_path):
    torch.save(random_state(), tmp_path / "random.pt")
    first = draw()
    assert draw() != first
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    set_random_state(torch.load(tmp_path / "random.pt", weights_only=True))
    assert draw() == first
