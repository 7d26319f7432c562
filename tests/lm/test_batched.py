import numpy as np
import pytest
import torch

from nar_asr_lobes.lm.batched import BatchedNgram
from nar_asr_lobes.lm.ngram.lookup import score_token
from tests.random_ngram import random_tables

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("chains", [1, 2])
@pytest.mark.parametrize("device", DEVICES)
def test_equals_the_scalar_look_up(device, chains):
    rng = np.random.default_rng(1)
    for seed, states in enumerate([1, 2, 80, 200]):
        tables = random_tables(states, 23, seed, chains)
        lm = BatchedNgram(tables, device)
        asked = rng.integers(states, size=700)
        tokens = rng.integers(1, 23, size=(700, 7))
        log_probs, after = lm.score(
            torch.tensor(asked, device=device),
            torch.tensor(tokens, device=device),
        )
        expected = [
            [score_token(tables, state, token) for token in row]
            for state, row in zip(asked, tokens, strict=True)
        ]
        expected = np.array(expected)
        np.testing.assert_allclose(log_probs.cpu(), expected[:, :, 0], 1e-12)
        np.testing.assert_array_equal(after.cpu(), expected[:, :, 1])


@pytest.mark.parametrize("device", DEVICES)
def test_starts_ends_and_selects(device):
    tables = random_tables(50, 9, seed=3)
    lm = BatchedNgram(tables, device)
    assert lm.size == 9
    assert lm.start(3).tolist() == tables.start.tolist() * 3
    states = torch.tensor([4, 0, 49], device=device)
    np.testing.assert_array_equal(
        lm.final(states).cpu(), tables.final[[4, 0, 49]]
    )
    after = torch.tensor([[5, 6], [7, 8], [9, 10]], device=device)
    rows = torch.tensor([2, 0, 2, 1], device=device)
    columns = torch.tensor([-1, 1, 0, -1], device=device)
    assert lm.select(states, after, rows, columns).tolist() == [49, 6, 9, 0]
    assert lm.futures(states, after, rows, columns).tolist() == [49, 6, 9, 0]
