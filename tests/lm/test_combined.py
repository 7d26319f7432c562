import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.batched import BatchedNgram
from nar_asr_lobes.lm.combined import CombinedLM
from tests.random_ngram import random_tables


def test_every_state_predicts_the_weighted_sum():
    one, two = (BatchedNgram(random_tables(30, 7, seed)) for seed in (1, 2))
    both = CombinedLM([0.5, -0.2], [one, two])
    assert both.size == 7
    generator = torch.Generator().manual_seed(3)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    models, count = (both, one, two), 4
    states = [model.start(count) for model in models]
    for _ in range(20):
        tokens, rows = draw(1, 7, count, 3), draw(0, count, 5)
        columns, count = draw(-1, 3, 5), 5
        found = [
            model.score(state, tokens)
            for model, state in zip(models, states, strict=True)
        ]
        total, first, second = (log_probs for log_probs, _ in found)
        torch.testing.assert_close(total, 0.5 * first - 0.2 * second)
        states = [
            model.select(state, after, rows, columns)
            for model, state, (_, after) in zip(
                models, states, found, strict=True
            )
        ]
        ends = [m.final(s) for m, s in zip(models, states, strict=True)]
        torch.testing.assert_close(ends[0], 0.5 * ends[1] - 0.2 * ends[2])


def test_models_of_two_tokenizers_are_refused():
    models = [BatchedNgram(random_tables(5, size, 1)) for size in (7, 9)]
    with pytest.raises(UserError, match="of 7 and 9 pieces cannot be added"):
        CombinedLM([1.0, 1.0], models)
