import itertools
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.mask_predict import MaskPredictOptions
from nar_asr_lobes.decoding.modes import MODES
from nar_asr_lobes.decoding.neural_beam import neural_beam_search
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.rescore import RescoreOptions, rescore
from nar_asr_lobes.decoding.slot_beam import SlotBeamOptions, slot_beam_search
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels
from nar_asr_lobes.lm.neural.scorer import NeuralLM
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

OPTIONS = DecodingOptions(mask_predict=MaskPredictOptions(threshold=0.95))


@pytest.fixture
def recognizer(model, bigram):
    tokenizer = CharTokenizer(" abcdefg")
    lms = LanguageModels(bigram(9, 0))
    return Recognizer(model, tokenizer, OPTIONS, lms)


def test_all_modes_share_one_encoder_pass(recognizer, batch, monkeypatch):
    wavs, wav_lens, encoded = batch
    passes = []
    encode = recognizer.model.encode

    def counting(*inputs):
        passes.append(inputs)
        return encode(*inputs)

    monkeypatch.setattr(recognizer.model, "encode", counting)
    found = recognizer.recognize(wavs, wav_lens)
    assert len(passes) == 1
    assert tuple(found.modes) == MODES
    assert torch.equal(found.encoded.log_probs, encoded.log_probs)
    for result in found.modes.values():
        tokens = [hypothesis.tokens for hypothesis in result.best]
        assert result.texts == [
            recognizer.tokenizer.decode(ids) for ids in tokens
        ]
    assert any(found.modes["ctc_greedy"].texts)


@torch.inference_mode()
def test_each_mode_is_the_search_it_names(recognizer, batch):
    encoded, lms = batch[2], recognizer.lms
    found = recognizer.search(encoded)
    rows = posteriors(encoded)
    beam, beam_lm = OPTIONS.beam, OPTIONS.beam_lm
    assert found["beam5"].nbest == prefix_beam_search(rows, beam)
    assert found["beam5_lm"].nbest == prefix_beam_search(
        rows, beam_lm, lms.ngram
    )
    assert found["nar_beam5_lm"].nbest == rescore(
        recognizer.model,
        encoded,
        found["beam5_lm"].nbest,
        OPTIONS.rescore,
        lms,
    )
    texts = {tuple(result.texts) for result in found.values()}
    assert len(texts) >= 3  # a random model: the modes disagree


@pytest.mark.parametrize("start", ["ctc_greedy", "beam5_lm"])
@torch.inference_mode()
def test_the_slots_are_those_of_the_mode_named(recognizer, batch, start):
    options = SlotBeamOptions(start=start, mask_threshold=0.95)
    recognizer.options = replace(OPTIONS, nar_lm=options)
    found = recognizer.search(batch[2], ["nar_lm", start])
    starts = [hypothesis.tokens for hypothesis in found[start].best]
    assert found["nar_lm"].nbest == slot_beam_search(
        recognizer.model, batch[2], starts, options, recognizer.lms.ngram
    )
    assert [h.tokens for h in found["nar_lm"].best] != starts
    assert "nar_lm" not in recognizer.search(batch[2])  # unless it is named


def test_a_batch_equals_one_by_one_in_input_order(recognizer, batch):
    wavs, wav_lens, _ = batch
    together = recognizer.recognize(wavs, wav_lens)
    for row in range(3):
        samples = int(wav_lens[row] * wavs.shape[1])
        alone = recognizer.recognize(wavs[row, None, :samples], torch.ones(1))
        for mode in MODES:
            batched, single = together.modes[mode], alone.modes[mode]
            assert batched.texts[row] == single.texts[0]
            assert batched.best[row].score == pytest.approx(
                single.best[0].score, abs=1e-4
            )


def test_a_mode_counts_the_time_of_what_it_builds_on(
    recognizer, batch, monkeypatch
):
    clock = itertools.count()  # each measured piece of work takes 1 s
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    found = recognizer.recognize(*batch[:2], ["nar_beam5_lm", "beam5_lm"])
    assert found.encoder_seconds == 1.0
    assert list(found.modes) == ["nar_beam5_lm", "beam5_lm"]
    assert found.modes["beam5_lm"].seconds == 1.0
    assert found.modes["nar_beam5_lm"].seconds == 2.0
    joint = replace(OPTIONS, rescore=RescoreOptions(include_nar=True))
    recognizer.options = joint
    found = recognizer.search(batch[2], ["nar_beam5_lm"])
    assert found["nar_beam5_lm"].seconds == 3.0


def test_mask_predict_can_join_the_candidates(recognizer, batch):
    joint = replace(OPTIONS, rescore=RescoreOptions(include_nar=True))
    recognizer.options = joint
    found = recognizer.search(batch[2])
    for nar, beam, final in zip(
        found["nar"].best,
        found["beam5_lm"].nbest,
        found["nar_beam5_lm"].nbest,
        strict=True,
    ):
        expected = {h.tokens for h in beam} | {nar.tokens}
        assert {h.tokens for h in final} == expected


@pytest.fixture
def neural():
    return NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), vocab_size=9))


def test_a_neural_model_and_lodr_reach_the_rescoring(
    recognizer, batch, bigram, neural
):
    options = RescoreOptions(neural_weight=2.0, lodr_weight=0.5)
    recognizer.options = replace(OPTIONS, rescore=options)
    lms = LanguageModels(recognizer.lms.ngram, neural, bigram(9, 4))
    recognizer.lms = lms
    for [best, *_] in recognizer.search(batch[2])["nar_beam5_lm"].nbest:
        assert best.neural == pytest.approx(neural.sentence(best.tokens))
        assert best.lodr == lms.lodr.sentence(best.tokens)


def test_with_a_neural_model_its_mode_comes_last(recognizer, neural, batch):
    recognizer.lms = replace(recognizer.lms, neural=neural)
    found = recognizer.search(batch[2])
    assert tuple(found) == (*MODES, "beam5_neural")
    encoded = batch[2]
    expected = neural_beam_search(
        encoded.log_probs,
        encoded.lengths,
        OPTIONS.beam_neural,
        recognizer.lms,
    )
    assert found["beam5_neural"].nbest == expected
    assert found["beam5_neural"].texts != found["beam5"].texts


@torch.inference_mode()
def test_hot_words_reach_the_beams_and_stay_in_the_ranking(recognizer, batch):
    plain, rows = recognizer.search(batch[2]), posteriors(batch[2])
    hot = HotWords.build(["ab", "c", "fg"], recognizer.tokenizer, 3.0)
    recognizer.hot_words = hot
    joint = replace(OPTIONS, rescore=RescoreOptions(include_nar=True))
    recognizer.options = joint
    found = recognizer.search(batch[2])
    for mode, options, lm in (
        ("beam5", OPTIONS.beam, None),
        ("beam5_lm", OPTIONS.beam_lm, recognizer.lms.ngram),
    ):
        assert found[mode].nbest == prefix_beam_search(
            rows, options, lm, hot_words=hot
        )
        assert found[mode].nbest != plain[mode].nbest
    for mode in ("ctc_greedy", "nar"):
        assert found[mode].nbest == plain[mode].nbest
    gains = set()
    for nbest in found["nar_beam5_lm"].nbest:
        for h in nbest:
            score = 0.7 * h.decoder + h.hot
            # the decoder may repeat a token, for which CTC has no path
            assert h.score in (pytest.approx(score + 0.3 * h.ctc), h.ctc)
            assert h.hot == hot.gain(h.tokens)
            gains.add(h.hot)
    assert len(gains) > 1


def test_without_a_language_model(recognizer, batch):
    recognizer.lms = LanguageModels()
    found = recognizer.search(batch[2])
    assert list(found) == ["ctc_greedy", "nar", "beam5"]
    with pytest.raises(UserError, match="beam5_lm needs a language model"):
        recognizer.search(batch[2], ["beam5_lm"])
    with pytest.raises(UserError, match="needs a neural language model"):
        recognizer.search(batch[2], ["beam5_neural"])


def test_an_unknown_mode_is_named_with_the_known_ones(recognizer, batch):
    with pytest.raises(UserError, match="'greedy'; choose from ctc_greedy"):
        recognizer.recognize(*batch[:2], ["greedy"])


def test_the_model_is_put_into_evaluation_mode(recognizer, batch):
    recognizer.model.train()
    recognizer.recognize(*batch[:2], ["ctc_greedy"])
    assert not recognizer.model.training


def test_nan_weights_are_one_clear_sentence(recognizer, batch):
    encoded = replace(batch[2], log_probs=batch[2].log_probs * float("nan"))
    for mode in MODES:
        with pytest.raises(UserError, match="NaN"):
            recognizer.search(encoded, [mode])


def test_another_tokenizer_is_refused(model):
    with pytest.raises(UserError, match="4 pieces but the model 9 outputs"):
        Recognizer(model, CharTokenizer("abc"))


def test_utterances_too_short_for_a_frame_are_empty(recognizer):
    found = recognizer.recognize(torch.zeros(2, 8000), torch.tensor([1.0, 0]))
    for result in found.modes.values():
        assert result.texts[1] == ""


def test_options_reach_the_search(model, batch):
    narrow = DecodingOptions(beam=BeamOptions(beam_size=2))
    recognizer = Recognizer(model, CharTokenizer(" abcdefg"), narrow)
    found = recognizer.search(batch[2], ["beam5"])
    assert {len(nbest) for nbest in found["beam5"].nbest} == {2}


def test_greedy_search_loads_neither_numba_nor_n_grams():
    script = """
import sys, torch
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.inference.transcriber import Transcriber
from nar_asr_lobes.lobes.model import ModelConfig, build_model
tokenizer = CharTokenizer(" ab")
model = build_model(ModelConfig.tiny(), tokenizer.size)
recognizer = Recognizer(model, tokenizer)
recognizer.recognize(torch.randn(1, 8000), torch.ones(1), ["ctc_greedy"])
ngram = "nar_asr_lobes.lm.ngram."
for name in ("numba", ngram + "tables", ngram + "lookup"):
    print(name in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["False"] * 3
