"""Audio and spectrogram of the page against scipy and the files."""

import base64
import io

import numpy as np
import pytest
import scipy.signal
import soundfile

from nar_asr_lobes.report.clips import add_clips, spectrogram
from nar_asr_lobes.report.read import read_report
from tests.report.output_folders import TEXTS


def test_spectrogram_equals_scipys():
    wav = np.random.default_rng(0).normal(size=3200).astype(np.float32)
    wav[1000:2000] *= 0.01
    window, hop = 512, 320
    padded = np.pad(wav, ((window - hop) // 2, window))
    _, _, power = scipy.signal.spectrogram(
        *(padded, 16000, np.hanning(window)),
        noverlap=window - hop,
        detrend=False,
        mode="psd",
    )
    power[0] *= 2  # of both sides, as all others are
    bands = power[:256, :10].reshape(64, 4, 10).mean(1).T
    decibels = 10 * np.log10(bands / bands.max())
    expected = 255 * np.clip(1 + decibels / 70, 0, 1)
    assert np.abs(spectrogram(wav) - expected).max() <= 0.51


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (320, 1), (321, 2)])
def test_every_sample_is_in_a_frame(samples, frames):
    levels = spectrogram(np.r_[np.zeros(samples - 1), 1])
    assert levels.shape == (frames, 64)
    assert levels[-1].max() == 255
    assert spectrogram(np.zeros(samples)).max() == 0


def test_the_worst_utterances_get_their_audio(run_folder):
    report = read_report(run_folder)
    [found] = report.sets
    add_clips(report.sets, 2)
    with_audio = [row.id for row in found.rows if row.clip]
    assert with_audio == [TEXTS[1][0], TEXTS[4][0]]  # 100 % each
    clip = found.rows[-1].clip
    head, _, data = clip.audio.partition(",")
    assert head == "data:audio/mpeg;base64"
    wav, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 16000
    assert len(wav) / rate == pytest.approx(1.5, abs=0.1)
    peak = np.abs(np.fft.rfft(wav[4000:20000])).argmax()
    assert peak == 1000  # Hz, as in the file
    levels = np.frombuffer(base64.b64decode(clip.spectrogram), np.uint8)
    assert levels.reshape(-1, clip.bands)[30].argmax() == 8  # 1 kHz


def test_audio_that_is_not_there_is_counted(run_folder):
    (run_folder / "a.wav").unlink()
    report = read_report(run_folder)
    add_clips(report.sets, 3)
    assert "Audio of 3 utterances is left out: is missing." in (
        report.sets[0].notes
    )


def test_the_length_of_all_audio_is_limited(run_folder, monkeypatch):
    monkeypatch.setattr("nar_asr_lobes.report.clips.MAX_SECONDS", 4.0)
    report = read_report(run_folder)
    add_clips(report.sets, 5)
    assert sum(row.clip is not None for row in report.sets[0].rows) == 2
    assert "Audio of 3 utterances is left out" in report.sets[0].notes[-1]
