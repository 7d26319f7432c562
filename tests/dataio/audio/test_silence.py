"""Cutting long audio: every sample once, and in the pauses."""

import numpy as np
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.audio.silence import (
    SHORTEST,
    _split_at_quiet,
    cut_at_quiet,
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

RATE = 16000


def speech(seconds, seed=0):
    """Noise that swells and fades like syllables, never silent."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * RATE)
    swell = 0.6 + 0.4 * np.sin(np.arange(samples) / RATE * 2 * np.pi * 4)
    return (swell * rng.normal(scale=0.1, size=samples)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.001, 3.0, 4.0, 4.01, 17.77, 60.0])
@pytest.mark.parametrize("limit", [2, 4])
def test_every_sample_is_in_exactly_one_piece(seconds, limit):
    wav = speech(seconds)
    pieces = _split_at_quiet(wav, limit)
    assert pieces[0][0] == 0 and pieces[-1][1] == len(wav)
    assert all(
        before[1] == after[0]
        for before, after in zip(pieces, pieces[1:], strict=False)
    )
    lengths = [end - start for start, end in pieces]
    assert max(lengths) <= limit * RATE
    if len(pieces) > 1:
        assert min(lengths) >= limit * RATE // 10


def test_cuts_fall_into_pauses():
    wav = speech(90.0)
    pauses = [(at, at + 0.3) for at in np.arange(4.0, 90.0, 5.0)]
    for start, end in pauses:
        wav[int(start * RATE) : int(end * RATE)] *= 0.01
    cuts = [start / RATE for start, _ in _split_at_quiet(wav)[1:]]
    assert len(cuts) >= 3
    for cut in cuts:
        assert any(start < cut < end for start, end in pauses), cut


def test_a_pause_is_preferred_to_a_shorter_and_deeper_gap():
    wav = speech(30.0)
    wav[20 * RATE : 20 * RATE + 800] = 0  # 50 ms, as before a "t"
    wav[16 * RATE : 16 * RATE + 4800] *= 0.05  # 300 ms
    [(_, cut), _] = _split_at_quiet(wav)
    assert 16.0 < cut / RATE < 16.3


def test_an_offset_of_the_recorder_does_not_hide_a_pause():
    wav = speech(30.0)
    wav[16 * RATE : 16 * RATE + 4800] = 0
    assert _split_at_quiet(wav + 0.5) == _split_at_quiet(wav)


def test_silence_gives_few_pieces():
    assert len(_split_at_quiet(np.zeros(100 * RATE, np.float32))) <= 5


def test_short_audio_is_one_piece_whatever_it_holds():
    assert _split_at_quiet(np.zeros(25 * RATE)) == [(0, 25 * RATE)]


def test_a_limit_too_short_for_the_search_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        _split_at_quiet(np.zeros(10), 1.0)


@pytest.mark.parametrize("limit", [2, 4, 25])
@pytest.mark.parametrize("size", [1000, 70000, 10**7])
def test_blocks_are_cut_as_the_whole(limit, size):
    wav = speech(77.7)
    wav[20 * RATE : 45 * RATE] = 0  # equally quiet everywhere
    rng = np.random.default_rng(size)
    ends = np.cumsum(rng.integers(1, size, len(wav) // size * 3 + 1))
    blocks = np.split(wav, ends[ends < len(wav)])
    pieces = list(cut_at_quiet(blocks, limit))
    places = [(start, start + len(piece)) for start, piece in pieces]
    assert places == _split_at_quiet(wav, limit)
    np.testing.assert_array_equal(np.concatenate([p for _, p in pieces]), wav)


def test_pieces_come_before_the_end():
    blocks = (np.zeros(RATE, np.float32) for _ in range(10**9))
    assert next(cut_at_quiet(blocks, 4))[0] == 0


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
