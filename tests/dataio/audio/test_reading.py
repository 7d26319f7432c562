"""Every common format reads; every damaged file is named with its remedy."""

import pickle
import tracemalloc

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.audio.reading import (
    SAMPLE_RATE,
    AudioError,
    AudioStream,
    audio_blocks,
    audio_info,
    check_file,
    read_audio,
)

FORMATS = {
    "wav": {},
    "flac": {},
    "mp3": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}


def tone(seconds=0.5, rate=SAMPLE_RATE, hertz=440.0):
    """Return a sine at half of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def peak_hertz(wav):
    """Return the strongest frequency of a 16 kHz signal."""
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav))))
    return spectrum.argmax() * SAMPLE_RATE / len(wav)


def write(path, wav, rate=SAMPLE_RATE, **options):
    """Write a file in the format its extension stands for."""
    options = {**FORMATS[path.suffix[1:]], **options}
    soundfile.write(path, wav, rate, **options)
    return path


def refused(path, **options):
    """Return the problem that `read_audio` finds, after checking its form."""
    with pytest.raises(AudioError) as caught:
        read_audio(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: {caught.value.problem}")
    assert message.endswith(f"; {caught.value.remedy}")
    assert "\n" not in message
    return caught.value.problem


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rate", [8000, 24000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_rate_and_channel_count(tmp_path, kind, rate, channels):
    wav = np.stack([tone(rate=rate)] * channels, axis=1)
    found = read_audio(write(tmp_path / f"a.{kind}", wav, rate))
    assert found.dtype == np.float32 and found.shape == (8000,)
    assert peak_hertz(found) == pytest.approx(440, abs=4)
    assert np.abs(found[2000:6000]).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("rate", [6000, 11025, 11127, 22050, 44100, 44101])
def test_unusual_rates(tmp_path, rate):
    found = read_audio(write(tmp_path / "a.wav", tone(rate=rate), rate))
    assert len(found) == pytest.approx(8000, rel=0.003)
    assert peak_hertz(found) == pytest.approx(440, abs=4)


def test_channels_are_averaged(tmp_path):
    wav = np.array([[0.5, 0.0, 0.25], [-0.5, -0.25, 0.0]] * 100)
    found = read_audio(write(tmp_path / "a.wav", wav, subtype="FLOAT"))
    np.testing.assert_allclose(found, [0.25, -0.25] * 100, atol=1e-7)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_lossless_samples_come_back(tmp_path, kind):
    wav = np.random.default_rng(0).integers(-3000, 3000, 5000) / 32768
    found = read_audio(write(tmp_path / f"a.{kind}", wav))
    np.testing.assert_array_equal(found, wav.astype(np.float32))


def test_wrong_extension_reads(tmp_path):
    path = write(tmp_path / "a.flac", tone()).rename(tmp_path / "a.wav")
    assert len(read_audio(path)) == 8000


def test_info_is_the_header(tmp_path):
    path = write(tmp_path / "a.flac", np.zeros((2400, 2)), 24000)
    info = audio_info(path)
    assert (info.frames, info.channels, info.format) == (2400, 2, "FLAC")
    assert info.seconds == 0.1


def test_missing_folder_and_empty_file(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    assert refused(tmp_path / "no.wav") == "is missing"
    assert refused(tmp_path) == "is a folder"
    assert refused(tmp_path / "empty.wav") == "is empty (0 bytes)"
    with pytest.raises(AudioError, match="is empty"):
        check_file(tmp_path / "empty.wav")


def test_samples_without_a_header(tmp_path):
    (tmp_path / "a.RAW").write_bytes(bytes(3200))
    assert refused(tmp_path / "a.RAW") == "has no header"


def test_no_samples(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(0))
    assert refused(path) == "holds no samples"


@pytest.mark.parametrize("content", [b"<html>" * 100, b"RIFF", b"\x91" * 999])
def test_garbage(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert refused(path) == "cannot be read as audio"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path, kind, share):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE)
    path = write(tmp_path / f"a.{kind}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refused(path) in ("is cut short", "cannot be read as audio")


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_ogg_cut_between_two_pages(tmp_path, kind):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE)
    path = write(tmp_path / f"a.{kind}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"OggS")])
    assert refused(path) == "is cut short"


@pytest.mark.parametrize("kind", ["WAV", "RF64"])
@pytest.mark.parametrize("riff", [0, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("data", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_streamed_wav_has_no_length_but_reads(tmp_path, kind, riff, data):
    wav = tone()
    path = write(tmp_path / "a.wav", wav, format=kind)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = riff.to_bytes(4, "little")
    content[place : place + 4] = data.to_bytes(4, "little")
    if kind == "RF64":
        sizes = content.index(b"ds64") + 8
        content[sizes : sizes + 24] = bytes(24)
    path.write_bytes(content)
    np.testing.assert_allclose(read_audio(path), wav, atol=1e-4)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "NIST"])
def test_a_header_that_promises_a_little_more(tmp_path, kind):
    whole = tone(20.0)
    options = {"format": kind, "subtype": "PCM_16"}
    content = write(tmp_path / "whole.wav", whole, **options).read_bytes()
    path = tmp_path / "a.wav"
    for lacking, tolerable in [(0.03, True), (0.19, True), (0.22, False)]:
        path.write_bytes(content[: -int(lacking * SAMPLE_RATE) * 2])
        if not tolerable:
            assert refused(path) == "is cut short"
            continue
        stream = AudioStream(path)
        found = np.concatenate(list(stream))
        kept = len(whole) - int(lacking * SAMPLE_RATE)
        np.testing.assert_allclose(found, whole[:kept], atol=1e-4)
        assert audio_info(path).frames == kept
        (warning,) = stream.warnings
        assert warning.problem == "ends a little before its header says"
        assert f"({lacking:.2f} of 20.00 s are missing)" in str(warning)


def test_what_follows_the_samples_may_be_missing(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    content[4:8] = (len(content) + 1000).to_bytes(4, "little")
    path.write_bytes(content)
    assert len(read_audio(path)) == 8000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, bad):
    wav = tone()
    wav[1234] = bad
    path = write(tmp_path / "a.wav", wav, subtype="FLOAT")
    assert "not finite" in refused(path)


def test_samples_beyond_full_scale(tmp_path):
    wav = np.stack([tone(), tone()], axis=1)
    wav[5] = 30, -30  # would cancel in the average
    path = write(tmp_path / "a.wav", wav, subtype="FLOAT")
    assert "beyond 8 times" in refused(path)
    wav[5] = 8, -8
    assert len(read_audio(write(path, wav, subtype="FLOAT"))) == 8000


def test_longer_than_the_limit(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0))
    assert refused(path, max_seconds=0.5).startswith("is longer than")
    assert len(read_audio(path, max_seconds=1.0)) == SAMPLE_RATE


def claim_frames(path, frames):
    """Set the number of frames, 36 bits, in a FLAC file's header."""
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)


def test_a_header_cannot_make_it_allocate(tmp_path):
    path = write(tmp_path / "a.flac", tone())
    claim_frames(path, 2**36 - 1)
    tracemalloc.start()
    assert refused(path).startswith("is longer than")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_a_header_without_length(tmp_path):
    path = write(tmp_path / "a.flac", tone())
    claim_frames(path, 0)
    assert len(read_audio(path)) == audio_info(path).frames == 8000
    assert refused(path, max_seconds=0.4).startswith("is longer than")


def test_impossible_rate(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    content[24:28] = (5).to_bytes(4, "little")
    path.write_bytes(content)
    assert "sample rate" in refused(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rate", [8000, 24000])
def test_blocks_and_stretches_equal_the_whole(tmp_path, kind, rate):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (9 * rate, 2))
    path = write(tmp_path / f"a.{kind}", noise, rate)
    whole = read_audio(path)
    blocks = list(audio_blocks(path))
    assert max(map(len, blocks)) <= 5 * SAMPLE_RATE
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)
    for start, seconds in [(3.9999, 0.5), (8.005, 9.0)]:
        first, end = round(start * 16000), round((start + seconds) * 16000)
        found = read_audio(path, 1.0, start, seconds)
        np.testing.assert_allclose(found, whole[first:end], atol=1e-6)
    np.testing.assert_allclose(
        read_audio(path, 5.0, start=6.5), whole[104000:], atol=1e-6
    )
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(path, start=11.0, seconds=1.0)


def test_blocks_are_all_that_is_held(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros((60 * 48000, 2)), 48000)
    tracemalloc.start()
    assert sum(map(len, audio_blocks(path))) == 60 * SAMPLE_RATE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # the file holds 23 MB as float32


@pytest.mark.parametrize(
    "value, constant",
    [(0.0, True), (0.3, True), (2**-15, False)],
)
def test_constant_samples_are_known(tmp_path, value, constant):
    wav = np.full(8000, value, np.float32)
    wav[4000:] -= 0 if constant else value
    stream = AudioStream(write(tmp_path / "a.wav", wav, 8000))
    assert (sum(map(len, stream)), stream.is_constant) == (16000, constant)


def test_errors_survive_worker_processes(tmp_path):
    with pytest.raises(AudioError) as caught:
        read_audio(tmp_path / "no.wav")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.problem == "is missing"
    assert str(AudioError("rebuilt from a message")) == "rebuilt from a message"
