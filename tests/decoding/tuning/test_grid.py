from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.decoding.tuning.grid import (
    tune_lm,
    tune_rescoring,
    word_errors,
)
from nar_asr_lobes.errors import UserError

TOKENIZER = CharTokenizer(" ab")
A, B = TOKENIZER.encode("a") + TOKENIZER.encode("b")


@pytest.fixture
def development(bigram):
    """Speech whose words sound a little more like the wrong letter.

    The language model knows that ``a`` is followed by a space and ``b`` by
    ``b``, so it can tell them apart.
    """
    [space] = set(TOKENIZER.encode("a b")) - {A, B}
    lm = bigram(4, 0)
    probs = np.full((4, 4), 0.05)
    probs[0, A] = probs[space, A] = 0.85
    probs[A, space] = probs[A, 0] = 0.45
    probs[B, B] = 0.85
    lm.table = np.log(probs / probs.sum(1, keepdims=True)).tolist()
    utterances, references = [], []
    for words in (2, 3, 4):
        frames = []
        for _ in range(words):
            letter = np.full(4, 0.02)
            letter[[A, B]] = 0.45, 0.51
            gap = np.full(4, 0.02)
            gap[space] = 0.94
            blank = np.array([0.97, 0.01, 0.01, 0.01])
            frames += [letter, blank, gap, blank]
        utterances.append(torch.tensor(np.array(frames[:-2])).log())
        references.append(" ".join("a" * words))
    return utterances, references, lm


def search_errors(development, options):
    utterances, references, lm = development
    nbest = prefix_beam_search(utterances, options, lm)
    return sum(
        word_errors(reference, TOKENIZER.decode(found[0].tokens))
        for reference, found in zip(references, nbest, strict=True)
    )


def test_the_language_model_gets_the_weight_it_deserves(development):
    utterances, references, lm = development
    tuning = tune_lm(
        utterances, references, TOKENIZER, lm, None, (0.0, 0.5), (0.0, 1.0)
    )
    assert tuning.words == 9
    assert len(tuning.surface) == 4
    assert tuning.surface[0].errors == 9  # without the language model
    assert tuning.best.lm_weight == 0.5
    assert tuning.best.errors == 0


def test_every_point_holds_the_errors_of_its_search(development):
    options = BeamOptions(beam_size=3)
    utterances, references, lm = development
    tuning = tune_lm(
        utterances,
        references,
        TOKENIZER,
        lm,
        options,
        (0.0, 0.1, 0.5),
        (0.0, -20.0),
    )
    counts = []
    for point in tuning.surface:
        weighted = replace(
            options, lm_weight=point.lm_weight, token_bonus=point.token_bonus
        )
        counts.append(search_errors(development, weighted))
    assert [point.errors for point in tuning.surface] == counts
    assert tuning.best == tuning.surface[counts.index(min(counts))]
    assert len(set(counts)) > 1
    assert counts[0::2] != counts[1::2]  # the bonus counts too


def test_the_grid_can_be_shown(development):
    """A bar sees the points in their order, and may end the work early."""
    utterances, references, lm = development
    seen = []

    def show(grid):
        for point in grid[:3]:
            seen.append((point.lm_weight, point.token_bonus, len(grid)))
            yield point

    grid = ((0.0, 0.1), (0.0, 1.0))
    tuning = tune_lm(
        utterances, references, TOKENIZER, lm, None, *grid, progress=show
    )
    assert seen == [(0.0, 0.0, 4), (0.0, 1.0, 4), (0.1, 0.0, 4)]
    found = [(p.lm_weight, p.token_bonus, 4) for p in tuning.surface]
    assert found == seen


def test_a_bad_grid_is_refused_before_the_first_search(development):
    utterances, references, lm = development
    utterances = [np.full((2, 4), np.nan)] * 3  # no search would pass
    arguments = (utterances, references, TOKENIZER, lm, None)
    with pytest.raises(UserError, match="lm_weight is nan; it must be a"):
        tune_lm(*arguments, (0.0, float("nan")), (0.0,))
    with pytest.raises(UserError, match="the grid to tune on is empty; give"):
        tune_lm(*arguments, (0.0, 1.0), ())


def test_rescoring_weights_are_found_from_the_parts():
    right, wrong = (A,), (B,)
    nbest = [
        [
            Hypothesis(wrong, 0.0, ctc=-1.0, lm=-1.0, decoder=-9.0),
            Hypothesis(right, 0.0, ctc=-2.0, lm=-2.0, decoder=-1.0),
        ],
        [
            Hypothesis(wrong, 0.0, ctc=float("-inf"), lm=-1.0, decoder=-1.0),
            Hypothesis(right, 0.0, ctc=-4.0, lm=-1.0, decoder=-3.0),
        ],
    ]
    tuning = tune_rescoring(
        nbest, ["a", "a"], TOKENIZER, (0.0, 0.5, 1.0), (0.0,), (0.0,)
    )
    assert [p.errors for p in tuning.surface] == [1, 0, 1]
    assert tuning.best.ctc_weight == 0.5


def test_without_spaces_characters_are_counted():
    assert word_errors("今天天气很好", "今天天汽好") == 2


def test_word_errors_of_empty_texts():
    assert word_errors("", "") == 0
    assert word_errors("", "a b") == 2
    assert word_errors("a b", "") == 2


def test_missing_references_are_one_clear_sentence(development):
    utterances, references, lm = development
    with pytest.raises(UserError, match="3 development .* with 2 references"):
        tune_lm(utterances, references[:2], TOKENIZER, lm)
    with pytest.raises(UserError, match="at least one"):
        tune_rescoring([], [], TOKENIZER)
