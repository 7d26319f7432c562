from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.rescore import RescoreOptions
from nar_asr_lobes.decoding.tuning import (
    _tune_rescoring,
    tune_beam,
    tune_options,
    word_errors,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.lobes.model import ModelConfig, build_model
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

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
    tuning = tune_beam(
        utterances, references, TOKENIZER, lm, None, (0.0, 0.5), (0.0, 1.0)
    )
    assert tuning.words == 9
    assert len(tuning.surface) == 4
    assert tuning.errors[0] == 9  # without the language model
    assert tuning.best.lm_weight == 0.5
    assert min(tuning.errors) == 0


def test_every_point_holds_the_errors_of_its_search(development):
    options = BeamOptions(beam_size=3)
    utterances, references, lm = development
    tuning = tune_beam(
        utterances,
        references,
        TOKENIZER,
        lm,
        options,
        (0.0, 0.1, 0.5),
        (0.0, -20.0),
    )
    counts = [search_errors(development, point) for point in tuning.grid]
    assert tuning.errors == counts
    assert tuning.best == tuning.grid[counts.index(min(counts))]
    assert {point.beam_size for point in tuning.grid} == {3}
    surface = [(p["lm_weight"], p["token_bonus"]) for p in tuning.surface]
    assert surface == [(w, b) for w in (0.0, 0.1, 0.5) for b in (0.0, -20.0)]
    assert [point["errors"] for point in tuning.surface] == counts
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
    tuning = tune_beam(
        utterances, references, TOKENIZER, lm, None, *grid, progress=show
    )
    assert seen == [(0.0, 0.0, 4), (0.0, 1.0, 4), (0.1, 0.0, 4)]
    found = [(p.lm_weight, p.token_bonus, 4) for p in tuning.grid]
    assert found == seen


def test_a_bad_grid_is_refused_before_the_first_search(development):
    utterances, references, lm = development
    utterances = [np.full((2, 4), np.nan)] * 3  # no search would pass
    arguments = (utterances, references, TOKENIZER, lm, None)
    with pytest.raises(UserError, match="lm_weight is nan; it must be a"):
        tune_beam(*arguments, (0.0, float("nan")), (0.0,))
    with pytest.raises(UserError, match="the grid to tune on is empty; give"):
        tune_beam(*arguments, (0.0, 1.0), ())


CANDIDATES = [(A,), (B, A), (B, B, A), ()]


def nbests(rng):
    """Re-scored candidates of four utterances, of different numbers."""
    return [
        [
            Hypothesis(
                tokens,
                score=0.0,
                ctc=float(rng.normal(-3)) if tokens else float("-inf"),
                lm=float(rng.normal(-4)),
                decoder=float(rng.normal(-2)),
                neural=float(rng.normal(-4)),
            )
            for tokens in CANDIDATES[: 4 - row % 2]
        ]
        for row in range(4)
    ]


def test_rescoring_counts_what_its_formula_ranks_first():
    nbest = nbests(np.random.default_rng(3))
    references = ["a", "ba", "bba", "a"]
    tuning = _tune_rescoring(
        nbest, references, TOKENIZER, RescoreOptions(), (0.0, 0.9)
    )
    assert len(tuning.grid) == 2 * 8 * 6 * 6
    for point, errors in zip(tuning.grid, tuning.errors, strict=True):
        counted = 0
        for found, reference in zip(nbest, references, strict=True):
            scores = [
                (1 - point.ctc_weight) * h.decoder
                + point.ctc_weight * h.ctc
                + point.lm_weight * h.lm
                + point.neural_weight * h.neural
                + point.token_bonus * len(h.tokens)
                for h in found
            ]
            best = found[int(np.argmax(scores))]
            counted += word_errors(reference, TOKENIZER.decode(best.tokens))
        assert errors == counted
    assert len(set(tuning.errors)) > 2
    assert tuning.names == (
        "neural_weight",
        "lm_weight",
        "token_bonus",
        "ctc_weight",
    )


def test_of_equal_points_the_one_next_to_the_search_is_taken():
    nbest = [[Hypothesis((A,), 0.0, -1.0)]]  # nothing to choose from
    options = RescoreOptions(lm_weight=0.7, token_bonus=1.1)
    tuning = _tune_rescoring(nbest, ["a"], TOKENIZER, options, (0.3, 0.0))
    assert set(tuning.errors) == {0}
    best = tuning.best
    assert best.neural_weight == 0.0
    assert (best.lm_weight, best.token_bonus) in ((0.6, 1.0), (0.8, 1.0))


@pytest.fixture
def recognizer(bigram):
    """A tiny random recogniser with both language models."""
    torch.manual_seed(4)
    model = build_model(ModelConfig.tiny(), TOKENIZER.size)
    neural = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), TOKENIZER.size))
    with torch.no_grad():
        model.ctc_head.weight.mul_(6.0)
        neural.model.output.weight.mul_(8.0)
    return Recognizer(
        model, TOKENIZER, lms=LanguageModels(bigram(TOKENIZER.size, 1), neural)
    )


def batches():
    """Two batches of noise with texts."""
    generator = torch.Generator().manual_seed(5)
    return [
        SimpleNamespace(
            wavs=torch.randn(2, 24000, generator=generator),
            wav_lens=torch.ones(2),
            texts=texts,
        )
        for texts in (["ab", "ba a"], ["bb", "a b"])
    ]


@pytest.mark.parametrize("with_neural", [True, False])
def test_all_modes_get_the_weights_of_fewest_errors(recognizer, with_neural):
    if not with_neural:
        recognizer.lms = LanguageModels(recognizer.lms.ngram)
    tuned = tune_options(recognizer, batches())
    sizes = {name: len(tuned.report[name]) for name in list(tuned.report)[1:]}
    assert sizes == {
        "beam5_lm": 8 * 6,
        "nar": 5 * 4,
        "nar_beam5_lm": 6 * 8 * 6 * (6 if with_neural else 1),
    }
    assert tuned.report["words"] == 6
    recognizer.options = tuned.options
    for mode in sizes:
        errors = 0
        for number, batch in enumerate(batches()):
            found = recognizer.recognize(batch.wavs, batch.wav_lens, [mode])
            texts = found.modes[mode].texts
            errors += sum(map(word_errors, batch.texts, texts))
            rows = tuned.log_probs[2 * number : 2 * number + 2]
            assert all(map(torch.equal, found.log_probs, rows))
        assert errors == min(p["errors"] for p in tuned.report[mode])


@pytest.mark.parametrize("with_neural", [True, False])
def test_modes_that_lack_a_part_keep_their_options(recognizer, with_neural):
    recognizer.model.decoder = None
    if not with_neural:
        recognizer.lms = LanguageModels(recognizer.lms.ngram)
    tuned = tune_options(recognizer, batches())
    sizes = {name: len(tuned.report[name]) for name in list(tuned.report)[1:]}
    rescoring = {"nar_beam5_lm": 8 * 6 * 6} if with_neural else {}
    assert sizes == {"beam5_lm": 8 * 6} | rescoring
    assert tuned.options.nar == recognizer.options.nar


def test_without_spaces_characters_are_counted():
    assert word_errors("今天天气很好", "今天天汽好") == 2


def test_word_errors_of_empty_texts():
    assert word_errors("", "") == 0
    assert word_errors("", "a b") == 2
    assert word_errors("a b", "") == 2


def test_missing_references_are_one_clear_sentence(development):
    utterances, references, lm = development
    with pytest.raises(UserError, match="3 development .* with 2 references"):
        tune_beam(utterances, references[:2], TOKENIZER, lm)
    with pytest.raises(UserError, match="at least one"):
        _tune_rescoring([], [], TOKENIZER, RescoreOptions())
