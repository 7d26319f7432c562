import itertools
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding import modes as modes_module
from nar_asr_lobes.decoding import recognizer as recognizer_module
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.mask_predict import MaskPredictOptions
from nar_asr_lobes.decoding.modes import (
    MODES,
    DecodingOptions,
    available_modes,
)
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.rescore import RescoreOptions, rescore
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

OPTIONS = DecodingOptions(nar=MaskPredictOptions(threshold=0.95))


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
    assert list(found.modes) == list(MODES)
    for row, expected in zip(found.log_probs, posteriors(encoded), strict=True):
        assert torch.equal(row, expected)
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
    beam, beam_lm = OPTIONS.beam5, OPTIONS.beam5_lm
    assert found["beam5"].nbest == prefix_beam_search(rows, beam)
    assert found["beam5_lm"].nbest == prefix_beam_search(
        rows, beam_lm, lms.ngram
    )
    assert found["nar_beam5_lm"].nbest == rescore(
        recognizer.model,
        encoded,
        found["beam5_lm"].nbest,
        OPTIONS.nar_beam5_lm,
        lms,
    )
    texts = {tuple(result.texts) for result in found.values()}
    assert len(texts) >= 3  # a random model: the modes disagree


@pytest.mark.parametrize(("nbest", "beam_size"), [(5, 3), (9, 5), (5, 7)])
@torch.inference_mode()
def test_the_nbest_to_rescore_comes_from_a_beam_as_wide(
    recognizer, batch, nbest, beam_size
):
    beam = replace(OPTIONS.beam5_lm, beam_size=beam_size)
    wide = replace(beam, beam_size=max(nbest, beam_size))
    rescoring = replace(OPTIONS.nar_beam5_lm, nbest=nbest)
    recognizer.options = replace(OPTIONS, beam5_lm=beam, nar_beam5_lm=rescoring)
    found = recognizer.search(batch[2], ["beam5_lm", "nar_beam5_lm"])
    candidates = prefix_beam_search(
        posteriors(batch[2]), wide, recognizer.lms.ngram
    )
    for row, final in enumerate(found["nar_beam5_lm"].nbest):
        expected = {h.tokens for h in candidates[row][:nbest]}
        assert {h.tokens for h in final} == expected
        assert len(expected) == nbest
        assert len(found["beam5_lm"].nbest[row]) == beam_size


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
    joint = replace(OPTIONS, nar_beam5_lm=RescoreOptions(include_nar=True))
    recognizer.options = joint
    found = recognizer.search(batch[2], ["nar_beam5_lm"])
    assert found["nar_beam5_lm"].seconds == 3.0


def test_mask_predict_can_join_the_candidates(recognizer, batch):
    joint = replace(OPTIONS, nar_beam5_lm=RescoreOptions(include_nar=True))
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


def test_a_neural_model_reaches_the_rescoring(recognizer, batch, neural):
    options = RescoreOptions(neural_weight=2.0)
    recognizer.options = replace(OPTIONS, nar_beam5_lm=options)
    recognizer.lms = replace(recognizer.lms, neural=neural)
    for [best, *_] in recognizer.search(batch[2])["nar_beam5_lm"].nbest:
        [expected] = neural.sentences([best.tokens])
        assert best.neural == pytest.approx(expected)


@torch.inference_mode()
def test_hot_words_reach_the_beams_and_stay_in_the_ranking(recognizer, batch):
    plain, rows = recognizer.search(batch[2]), posteriors(batch[2])
    hot = HotWords.build(["ab", "cd", "fg"], recognizer.tokenizer, 5.0)
    recognizer.hot_words = hot
    joint = replace(OPTIONS, nar_beam5_lm=RescoreOptions(include_nar=True))
    recognizer.options = joint
    found = recognizer.search(batch[2])
    for mode, options, lm in (
        ("beam5", OPTIONS.beam5, None),
        ("beam5_lm", OPTIONS.beam5_lm, recognizer.lms.ngram),
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
    assert list(found) == available_modes({"decoder"})
    assert "nar" in found and "beam5_lm" not in found
    with pytest.raises(UserError, match="beam5_lm needs a language model"):
        recognizer.search(batch[2], ["beam5_lm"])


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
    narrow = DecodingOptions(beam5=BeamOptions(beam_size=2))
    recognizer = Recognizer(model, CharTokenizer(" abcdefg"), narrow)
    found = recognizer.search(batch[2], ["beam5"])
    assert {len(nbest) for nbest in found["beam5"].nbest} == {2}


@pytest.fixture
def parts():
    """Three batches, of one to two utterances."""
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randn(count, samples, generator=generator), torch.ones(count))
        for count, samples in ((2, 16000), (1, 9000), (2, 24000))
    ]


def on_a_gpu(recognizer, monkeypatch):
    """Let the recogniser search while it encodes, as it does on a GPU."""
    monkeypatch.setattr(recognizer_module, "_batches_ahead", lambda device: 1)


def results(recognitions):
    """The results without their times."""
    return [
        {mode: (r.nbest, r.texts) for mode, r in recognition.modes.items()}
        for recognition in recognitions
    ]


def test_searching_while_encoding_changes_nothing(
    recognizer, parts, monkeypatch
):
    alone = [recognizer.recognize(*part) for part in parts]
    in_turn = list(recognizer.recognize_batches(parts))
    on_a_gpu(recognizer, monkeypatch)
    together = list(recognizer.recognize_batches(parts))
    assert results(alone) == results(in_turn) == results(together)
    for found, expected in zip(together, alone, strict=True):
        for row, wanted in zip(
            found.log_probs, expected.log_probs, strict=True
        ):
            assert torch.equal(row, wanted)


class Watched:
    """An encoder and a search that report when they begin."""

    def __init__(self, recognizer, monkeypatch):
        self.encodings, self.searches, self.order = [], [], []
        self.encode = recognizer.model.encode
        monkeypatch.setattr(recognizer.model, "encode", self.watch_encoding)
        greedy = replace(MODES["ctc_greedy"], search=self.watch_search)
        monkeypatch.setitem(MODES, "ctc_greedy", greedy)
        self.search = modes_module._greedy
        self.hold_encoding = self.hold_search = lambda number: None

    def watch_encoding(self, wavs, wav_lens):
        number = len(self.encodings)
        self.encodings.append(threading.current_thread())
        self.order.append(f"encode {number}")
        self.hold_encoding(number)
        return self.encode(wavs, wav_lens)

    def watch_search(self, job):
        number = len(self.searches)
        self.searches.append(threading.current_thread())
        self.order.append(f"search {number}")
        self.hold_search(number)
        return self.search(job)


def test_a_batch_is_searched_while_the_next_is_encoded(
    recognizer, parts, monkeypatch
):
    on_a_gpu(recognizer, monkeypatch)
    watched = Watched(recognizer, monkeypatch)
    searching, encoding = threading.Event(), threading.Event()

    def hold_encoding(number):
        if number == 1:  # not before the first search is under way
            encoding.set()
            assert searching.wait(60)

    def hold_search(number):
        if number == 0:  # which ends not before the second encoding began
            searching.set()
            assert encoding.wait(60)

    watched.hold_encoding, watched.hold_search = hold_encoding, hold_search
    found = list(recognizer.recognize_batches(parts, ["ctc_greedy"]))
    assert [len(f.log_probs) for f in found] == [2, 1, 2]
    assert set(watched.encodings) == {threading.current_thread()}
    assert threading.current_thread() not in watched.searches


def test_on_the_cpu_a_batch_is_done_before_the_next_is_read(
    recognizer, parts, monkeypatch
):
    watched = Watched(recognizer, monkeypatch)

    def batches():
        for number, part in enumerate(parts):
            watched.order.append(f"read {number}")
            yield part

    for number, _ in enumerate(
        recognizer.recognize_batches(batches(), ["ctc_greedy"])
    ):
        watched.order.append(f"result {number}")
    steps = ("read", "encode", "search", "result")
    assert watched.order == [f"{step} {i}" for i in range(3) for step in steps]


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("stage", ["read", "encode", "search"])
def test_an_error_comes_in_the_turn_of_its_batch(
    recognizer, parts, monkeypatch, ahead, stage
):
    monkeypatch.setattr(
        recognizer_module, "_batches_ahead", lambda device: ahead
    )
    watched = Watched(recognizer, monkeypatch)

    def fail(number):
        if number == 1:
            raise UserError(f"{stage} of the second batch")

    def batches():
        for number, part in enumerate(parts):
            if stage == "read":
                fail(number)
            yield part

    if stage == "encode":
        watched.hold_encoding = fail
    if stage == "search":
        watched.hold_search = fail
    found = recognizer.recognize_batches(batches(), ["ctc_greedy"])
    assert len(next(found).log_probs) == 2
    with pytest.raises(UserError, match=f"{stage} of the second batch"):
        next(found)
    assert list(found) == []


def test_greedy_search_and_word_times_load_neither_numba_nor_n_grams():
    script = """
import sys, torch
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.alignment import align
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.inference.transcriber import Transcriber
from nar_asr_lobes.lobes.model import ModelConfig, build_model
tokenizer = CharTokenizer(" ab")
model = build_model(ModelConfig.tiny(), tokenizer.size)
recognizer = Recognizer(model, tokenizer)
batch = torch.randn(1, 8000), torch.ones(1)
found = recognizer.recognize(*batch, ["ctc_greedy"])
[best] = found.modes["ctc_greedy"].best
print(len(align(found.log_probs[0], best.tokens)) == len(best.tokens) > 0)
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
    assert found.stdout.split() == ["True", *["False"] * 3]


def test_a_candidate_of_the_decoder_needs_one(
    recognizer, batch, neural, monkeypatch
):
    monkeypatch.setattr(recognizer.model, "decoder", None)
    recognizer.lms = replace(recognizer.lms, neural=neural)
    found = recognizer.search(batch[2])
    assert list(found) == ["ctc_greedy", "beam5", "beam5_lm", "nar_beam5_lm"]
    joint = replace(OPTIONS, nar_beam5_lm=RescoreOptions(include_nar=True))
    recognizer.options = joint
    with pytest.raises(UserError, match="mode nar needs a NAR decoder"):
        recognizer.search(batch[2])
