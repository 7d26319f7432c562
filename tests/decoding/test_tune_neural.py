from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding import tune_neural as module
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.neural_beam import neural_beam_search
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.decoding.rescore import RescoreOptions
from nar_asr_lobes.decoding.tune_neural import tune_neural
from nar_asr_lobes.decoding.tuning.grid import word_errors
from nar_asr_lobes.lm.models import LanguageModels
from nar_asr_lobes.lm.neural.scorer import NeuralLM
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

TOKENIZER = CharTokenizer(" ab")
OPTIONS = DecodingOptions(
    rescore=RescoreOptions(ctc_weight=0.5, lm_weight=0.2, token_bonus=9.0)
)
CANDIDATES = [(1,), (2, 3), (2, 2, 1), ()]


@pytest.fixture
def recognizer(bigram, monkeypatch):
    """What tuning asks of a recogniser, and small grids."""
    monkeypatch.setattr(module, "NEURAL_WEIGHTS", (0.0, 1.5))
    monkeypatch.setattr(module, "TOKEN_BONUSES", (0.0, 2.0))
    monkeypatch.setattr(module, "LODR_WEIGHTS", (0.0, 0.8))
    generator = torch.Generator().manual_seed(7)
    model = TransformerLm(LmSizes(16, 2, 32, 1), TOKENIZER.size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    lms = LanguageModels(bigram(4, 1), NeuralLM(model), bigram(4, 2))
    return SimpleNamespace(lms=lms, options=OPTIONS, tokenizer=TOKENIZER)


@pytest.fixture
def encoded(lattice):
    """Two batches of two utterances."""
    rng = np.random.default_rng(4)
    parts = []
    for lengths in ([14, 9], [12, 14]):
        rows = [lattice(14, 4, rng) for _ in lengths]
        log_probs = torch.stack(rows)
        parts.append(
            SimpleNamespace(
                log_probs=log_probs,
                lengths=torch.tensor(lengths),
                states=log_probs,
            )
        )
    return parts


def texts(recognizer, encoded, options):
    """What the search finds with the options, one batch after the other."""
    return [
        TOKENIZER.decode(nbest[0].tokens)
        for part in encoded
        for nbest in neural_beam_search(
            part.log_probs, part.lengths, options, recognizer.lms
        )
    ]


@pytest.mark.parametrize("weights", [(1.5, 2.0, 0.0), (1.5, 2.0, 0.8)])
def test_the_first_pass_gets_the_weights_it_deserves(
    recognizer, encoded, weights
):
    names = "neural_weight", "token_bonus", "lodr_weight"
    wanted = replace(
        OPTIONS.beam_neural, **dict(zip(names, weights, strict=True))
    )
    references = texts(recognizer, encoded, wanted)
    nbest = [[Hypothesis((1,), 0.0, -1.0)]] * 4
    options, surfaces = tune_neural(recognizer, encoded, nbest, references)
    assert options.beam_neural == wanted
    assert len(surfaces["beam_neural"]) == 4 + 2
    for point in surfaces["beam_neural"]:
        count = point.pop("errors")
        found = texts(recognizer, encoded, type(wanted)(**point))
        assert count == sum(map(word_errors, references, found))


def test_without_lodr_its_weight_is_not_tried(recognizer, encoded):
    recognizer.lms = replace(recognizer.lms, lodr=None)
    references = texts(recognizer, encoded, OPTIONS.beam_neural)
    nbest = [[Hypothesis((1,), 0.0, -1.0)]] * 4
    options, surfaces = tune_neural(recognizer, encoded, nbest, references)
    assert [len(points) for points in surfaces.values()] == [4, 4]
    assert options.beam_neural.lodr_weight == options.rescore.lodr_weight == 0


def test_rescoring_is_ranked_by_its_formula(recognizer, encoded):
    lms = recognizer.lms
    nbest = [
        [
            Hypothesis(
                tokens,
                score=0.0,
                ctc=-1.0 - 0.3 * i if tokens else float("-inf"),
                lm=lms.ngram.sentence(tokens),
                decoder=-2.0 + 0.8 * i * (len(tokens) - 1),
            )
            for tokens in CANDIDATES
        ]
        for i in range(4)
    ]
    references = ["ab", "aa", "", "ab"]
    options, surfaces = tune_neural(recognizer, encoded, nbest, references)

    def ranked(point):
        """Word errors of the candidates that the formula puts first."""
        errors = 0
        for found, reference in zip(nbest, references, strict=True):
            scores = [
                0.5 * h.decoder
                + 0.5 * h.ctc
                + 0.2 * h.lm
                + point["neural_weight"] * lms.neural.sentence(h.tokens)
                + point["token_bonus"] * len(h.tokens)
                - point["lodr_weight"] * lms.lodr.sentence(h.tokens)
                for h in found
            ]
            best = found[int(np.argmax(scores))]
            errors += word_errors(reference, TOKENIZER.decode(best.tokens))
        return errors

    points = surfaces["rescore_neural"]
    counts = [point.pop("errors") for point in points]
    assert counts == [ranked(point) for point in points]
    assert len(points) == 8 and len(set(counts)) > 1
    best = replace(OPTIONS.rescore, **points[int(np.argmin(counts))])
    assert options.rescore == best
