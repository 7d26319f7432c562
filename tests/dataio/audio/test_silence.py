"""Cutting long audio: every sample once, and in the pauses."""

import numpy as np
import pytest

from nar_asr_lobes.dataio.audio.silence import _split_at_quiet, cut_at_quiet

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
