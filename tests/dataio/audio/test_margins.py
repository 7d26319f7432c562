"""Clips that are too short get silence; long enough ones stay as they are."""

import numpy as np
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.audio.margins import (
    SHORTEST,
    silence_before,
    with_silence,
)
from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.dataio.checks import check_utterances
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.lobes.frontend import WaveformFrontend
from nar_asr_lobes.lobes.stems import GaborStem, Wav2Vec2Stem

TOKENIZER = CharTokenizer(" abcdefghijklmnopqrstuvwxyz")
STEMS = {
    "gabor": lambda: GaborStem(20, 16),
    "wav2vec2-group": lambda: Wav2Vec2Stem(16, "group"),
    "wav2vec2-layer": lambda: Wav2Vec2Stem(16, "layer", bias=True),
}
# 0.1 s and around it, odd lengths, almost long enough.
SAMPLES = [1600, 1599, 801, 399, 4001, 9999, SHORTEST - 81]


def frontend_of(stem):
    torch.manual_seed(0)
    return WaveformFrontend(STEMS[stem](), 16, 24).eval()


def frames_of(frontend):
    return lambda samples: int(frontend.output_lengths(torch.tensor(samples)))


@pytest.fixture
def clips(tmp_path):
    """Return a maker of noise clips, one for each number of samples."""

    def make(lengths, text="three"):
        rng = np.random.default_rng(1)
        rows = []
        for count in lengths:
            path = tmp_path / f"{count}.wav"
            wav = 0.1 * rng.standard_normal(count) + 0.05
            soundfile.write(path, wav, 16000, subtype="FLOAT")
            rows.append(Utterance(str(count), str(path), count / 16000, text))
        return rows

    return make


def batch_of(rows, frontend=None):
    samples_for = frontend and frontend.samples_for
    dataset = SpeechDataset(rows, TOKENIZER, samples_for=samples_for)
    return dataset.batch([Sample(i, i) for i in range(len(rows))])


def test_silence_is_on_both_sides_and_long_clips_stay():
    wav = np.arange(1.0, 1601, dtype=np.float32)
    padded = with_silence(wav)
    before = silence_before(1600)
    assert len(padded) == SHORTEST and padded.dtype == np.float32
    np.testing.assert_array_equal(padded[before : before + 1600], wav)
    silence = np.r_[padded[:before], padded[before + 1600 :]]
    assert (silence == wav.mean()).all()
    assert abs(before - (SHORTEST - 1600 - before)) <= 1
    for count in (SHORTEST, SHORTEST + 1, 16000):
        whole = np.ones(count)
        assert with_silence(whole) is whole and silence_before(count) == 0


@pytest.mark.parametrize("stem", STEMS)
def test_the_first_and_the_last_sample_of_a_clip_reach_the_frames(stem, clips):
    frontend = frontend_of(stem)
    for row, count in zip(clips(SAMPLES), SAMPLES, strict=True):
        batch = batch_of([row])
        wavs = batch.wavs.requires_grad_()
        frames, lengths = frontend(wavs, batch.wav_lens)
        assert lengths.item() >= 16
        weights = torch.randn(frames.shape)  # a sum of frames may cancel
        (gradient,) = torch.autograd.grad((frames * weights).sum(), wavs)
        start = (batch.samples.item() - count) // 2
        assert gradient[0, start] and gradient[0, start + count - 1], count


@pytest.mark.parametrize("stem", STEMS)
def test_a_batch_of_short_clips_is_what_each_is_alone(stem, clips):
    frontend, rows = frontend_of(stem), clips([*SAMPLES, 20000])
    batch = batch_of(rows)
    frames, lengths = frontend(batch.wavs, batch.wav_lens)
    assert lengths.min() >= 16
    for number, row in enumerate(rows):
        alone = batch_of([row])
        wanted, length = frontend(alone.wavs, alone.wav_lens)
        assert length.item() == lengths[number]
        torch.testing.assert_close(
            frames[number, : length.item()], wanted[0], atol=1e-5, rtol=0
        )


def test_short_clips_pass_the_checks_of_a_slow_stem(clips):
    """One word each, 0.1 to 1 s: none is refused, CTC can align them all."""
    frontend = frontend_of("gabor")
    rows = clips(range(1600, 16000, 1601))
    usable, findings = check_utterances(
        rows, TOKENIZER, frames_of(frontend), read=True
    )
    assert usable == rows and not findings
    batch = batch_of(rows)
    frames = frontend.output_lengths(batch.samples)
    assert frames.min() >= 6  # five letters, and a blank between two of them
    assert batch.seconds == pytest.approx(sum(u.duration for u in rows))


@pytest.mark.parametrize("stem", STEMS)
def test_a_tight_target_gets_more_silence_and_an_absurd_one_is_found(
    stem, clips
):
    frontend = frontend_of(stem)
    [tight] = clips([16000], "the fast talker of our town bores me")
    [absurd] = clips([16000], "abcdefghij" * 6)
    usable, findings = check_utterances(
        [tight, absurd], TOKENIZER, frames_of(frontend)
    )
    assert usable == [tight]
    assert [f.problem for f in findings] == [
        "has a target longer than CTC can align"
    ]
    batch = batch_of([tight, tight], frontend)
    frames = frontend.output_lengths(batch.samples)
    assert (frames >= 36).all()
    assert batch.seconds == 2


def test_memory_is_planned_with_the_silence(clips):
    rows = clips([1600, 32000])
    dataset = SpeechDataset(rows, TOKENIZER)
    assert dataset.durations == [SHORTEST / 16000, 2.0]


def test_clips_that_get_silence_are_counted(clips):
    rows = clips([800, 1600, SHORTEST - 1, SHORTEST])
    rows += clips([16000], "the fast talker of our town bores me")
    samples_for = frontend_of("gabor").samples_for
    dataset = SpeechDataset(rows, TOKENIZER, samples_for=samples_for)
    assert dataset.silence() == (
        "silence is put around 3 clips below 0.77 s and around 1 whose text "
        "needs more frames than they have"
    )
    assert SpeechDataset(rows[3:4], TOKENIZER).silence() == ""
