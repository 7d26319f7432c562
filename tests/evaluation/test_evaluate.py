"""Recognising a test set: in batches, sorted by length, told in input order."""

import itertools
import json
from dataclasses import replace

import jiwer
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.alignment import (
    Word,
    hypothesis_spans,
    word_times,
)
from nar_asr_lobes.decoding.modes import MODES
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.evaluation.evaluate import (
    _times,
    evaluate_split,
    recognize_utterances,
)
from nar_asr_lobes.lm.models import LanguageModels, LmFiles
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lobes.model import ModelConfig, build_model
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm
from tests.tones import TONE_TEXTS, tone_speech

RATE = 16000


@pytest.fixture
def utterances(tmp_path):
    """Eight texts of tone speech, of lengths in no order."""
    found = []
    for i, text in enumerate(TONE_TEXTS):
        wav = tone_speech(text, seed=i)
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, wav, RATE)
        found.append(Utterance(str(i), str(path), len(wav) / RATE, text))
    durations = [u.duration for u in found]
    assert durations not in (sorted(durations), sorted(durations)[::-1])
    return found


@pytest.fixture
def recognizer(tmp_path):
    """A random model with all language models it can have."""
    torch.manual_seed(3)
    tokenizer = CharTokenizer(" abcdefghijklmnopqrstuvwxyz")
    model = build_model(ModelConfig.tiny(), tokenizer.size)
    neural = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), tokenizer.size))
    with torch.no_grad():
        model.ctc_head.weight.mul_(10.0)  # less blank
        neural.model.output.weight.mul_(5.0)
    path = train_ngram(TONE_TEXTS, tokenizer, 3, tmp_path / "lm.arpa").path
    ngram = LmFiles(str(path)).load(tokenizer).ngram
    return Recognizer(model, tokenizer, lms=LanguageModels(ngram, neural))


def test_batches_of_like_length_equal_one_by_one(
    recognizer, utterances, monkeypatch
):
    dataset, alone = SpeechDataset(utterances), {}
    for i in range(len(utterances)):
        batch = dataset.batch([Sample(i, i)])
        found = recognizer.recognize(batch.wavs, batch.wav_lens)
        for mode, result in found.modes.items():
            alone.setdefault(mode, []).extend(result.texts)
    lengths, encode = [], recognizer.model.encode

    def watched(wavs, wav_lens):
        lengths.append((wav_lens * wavs.shape[1]).round().tolist())
        return encode(wavs, wav_lens)

    monkeypatch.setattr(recognizer.model, "encode", watched)
    found = recognize_utterances(recognizer, utterances, max_batch_seconds=4.0)
    assert {mode: r.texts for mode, r in found.modes.items()} == alone
    assert list(alone) == list(MODES)
    for mode, texts in alone.items():
        assert len(set(texts)) > len(texts) // 2, mode  # an order to be told
    assert 1 < len(lengths) < len(utterances)
    for shorter, longer in itertools.pairwise(sorted(lengths)):
        assert max(shorter) <= min(longer)
    seconds = sum(u.duration for u in utterances)
    assert found.audio_seconds == pytest.approx(seconds, abs=1e-3)


def test_what_cannot_be_scored_is_counted(recognizer, utterances, tmp_path):
    lost = replace(utterances[0], id="lost", audio=str(tmp_path / "no.wav"))
    mute = replace(utterances[1], id="mute", text=" ")
    given = [*utterances, lost, mute]
    folder = tmp_path / "test"
    [result] = evaluate_split(recognizer, given, folder, ["ctc_greedy"])
    assert result.counts.utterances == len(utterances)
    assert result.left_out == 2
    named = (folder / "left_out.txt").read_text(encoding="utf-8")
    assert [line.split(":")[0] for line in named.splitlines()] == [
        "lost",
        "mute",
    ]


def test_hypotheses_have_the_times_of_their_words(
    recognizer, utterances, tmp_path
):
    """They are those of each utterance by itself."""
    evaluate_split(recognizer, utterances, tmp_path / "test", ["beam5"])
    lines = (tmp_path / "test" / "beam5.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["id"] for row in rows] == [u.id for u in utterances]
    dataset = SpeechDataset(utterances)
    for i, row in enumerate(rows):
        batch = dataset.batch([Sample(i, i)])
        found = recognizer.recognize(batch.wavs, batch.wav_lens, ["beam5"])
        words = word_times(
            hypothesis_spans(found.log_probs[0], found.modes["beam5"].best[0]),
            recognizer.tokenizer,
            recognizer.model.frame_seconds,
        )
        assert row["text"] == found.modes["beam5"].texts[0]
        assert [text for *_, text in row["words"]] == [w.text for w in words]
        times = [row[:2] for row in row["words"]]
        expected = [pytest.approx([w.start, w.end], abs=0.006) for w in words]
        assert times == expected
    assert all(row["words"] for row in rows)


@pytest.mark.parametrize(
    ("seconds", "times"),
    [(2.0, [0.3, 0.4]), (0.25, [0.04, 0.14]), (0.1, [0.0, 0.07])],
)
def test_the_silence_around_a_short_clip_is_taken_off(seconds, times):
    assert _times(Word("a", 0.3, 0.4, 1.0), seconds) == times


def test_the_oracle_is_the_best_of_the_nbest(recognizer, utterances, tmp_path):
    modes = ["ctc_greedy", "beam5"]
    greedy, beam = evaluate_split(recognizer, utterances, tmp_path, modes)
    assert greedy.oracle is None
    dataset, errors = SpeechDataset(utterances), 0
    for i, utterance in enumerate(utterances):
        batch = dataset.batch([Sample(i, i)])
        found = recognizer.recognize(batch.wavs, batch.wav_lens, ["beam5"])
        [nbest] = found.modes["beam5"].nbest
        assert len(nbest) > 1
        words = len(utterance.text.split())
        texts = [recognizer.tokenizer.decode(x.tokens) for x in nbest]
        errors += min(
            round(words * jiwer.wer(utterance.text, text)) for text in texts
        )
    assert beam.oracle.word_errors == errors
    assert beam.oracle.word_errors <= beam.counts.word_errors
