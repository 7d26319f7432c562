"""Files of ffmpeg are read to their end; damage is never ignored."""

import multiprocessing
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.audio.reading import (
    AudioError,
    AudioStream,
    audio_info,
    read_audio,
)

RATE = 16000
SECONDS = 4.0
NO_HEADER = ["-write_xing", "0", "-id3v2_version", "0"]
VBR = ["-q:a", "9", *NO_HEADER]


@pytest.fixture
def ffmpeg():
    """Return a call of ffmpeg that gives what it prints; skips without it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")

    def call(*arguments):
        command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True)
        return done.stdout

    return call


@pytest.fixture
def speech(tmp_path):
    """Return a WAV file whose first half is faint, as VBR guesses wrong."""
    time = np.arange(int(SECONDS * RATE)) / RATE
    wav = 0.3 * np.sin(2 * np.pi * (300 + 200 * np.sin(9 * time)) * time)
    wav += np.random.default_rng(0).normal(scale=0.05, size=len(wav))
    wav[: len(wav) // 2] *= 0.001
    soundfile.write(tmp_path / "speech.wav", wav, RATE)
    return tmp_path / "speech.wav"


@pytest.fixture
def encode(ffmpeg, speech, tmp_path):
    """Return an encoder of the speech."""

    def encode(name, *options):
        ffmpeg("-i", speech, *options, tmp_path / name)
        return tmp_path / name

    return encode


def refused(path):
    """Return the problem of a file that cannot be used."""
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    return caught.value.problem


def like_ffmpeg(ffmpeg, path):
    """Check a file's length and samples by ffmpeg's; return the samples."""
    output = ["-ac", "1", "-ar", RATE, "-f", "f32le", "-"]
    expected = np.frombuffer(ffmpeg("-i", path, *output), np.float32)
    found = read_audio(path)
    assert len(found) / RATE == pytest.approx(len(expected) / RATE, abs=0.1)
    seconds = audio_info(path).seconds
    assert seconds == pytest.approx(len(found) / RATE, abs=1 / RATE)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(
        np.sqrt(np.mean(expected**2)), rel=0.05
    )
    return found


@pytest.mark.parametrize("options", [NO_HEADER, VBR])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_mp3_without_a_header(ffmpeg, encode, options, rate):
    path = encode("a.mp3", "-ar", rate, *options)
    assert len(like_ffmpeg(ffmpeg, path)) / RATE >= SECONDS - 0.1


def test_mp3_cut_out_of_a_broadcast(ffmpeg, encode):
    path = encode("a.mp3", *NO_HEADER)
    path.write_bytes(path.read_bytes()[1234:-777])
    assert len(like_ffmpeg(ffmpeg, path)) / RATE > SECONDS - 0.7


def test_mp3_written_to_a_pipe(ffmpeg, speech, tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(ffmpeg("-i", speech, "-q:a", "9", "-f", "mp3", "-"))
    assert len(like_ffmpeg(ffmpeg, path)) / RATE >= SECONDS - 0.1


@pytest.mark.parametrize(
    "name, second",
    [
        ("a.mp3", []),
        ("a.mp3", ["-ar", 44100, "-ac", 2]),
        ("a.ogg", []),
        ("a.ogg", ["-ar", 22050, "-ac", 2]),
        ("a.opus", []),
    ],
)
def test_joined_files_are_read_one_after_the_other(encode, name, second):
    codec = ["-c:a", "libvorbis"] if name == "a.ogg" else []
    path = encode(name, *codec)
    other = encode(f"second-{name}", *codec, *second)
    parts = read_audio(path), read_audio(other)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    found = read_audio(path)
    assert len(found) / RATE == pytest.approx(2 * SECONDS, abs=0.2)
    loudness = [np.abs(wav).mean() for wav in parts]
    assert np.abs(found).mean() == pytest.approx(np.mean(loudness), rel=0.05)


@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.webm", "a.mkv", "a.wma"])
def test_containers_of_telephones_and_browsers(ffmpeg, encode, name):
    like_ffmpeg(ffmpeg, encode(name))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_sound_of_a_video(ffmpeg, encode, name):
    video = ["-f", "lavfi", "-i", "testsrc=d=6:s=64x64:r=5"]
    like_ffmpeg(ffmpeg, encode(name, *video))


def test_a_video_without_sound(ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=5", path)
    with pytest.raises(AudioError, match="as audio .no audio in it.; convert"):
        read_audio(path)


def test_ogg_with_two_streams_at_once(ffmpeg, encode):
    second = ["-f", "lavfi", "-i", "sine=d=4", "-map", "0:a", "-map", "1:a"]
    path = encode("a.ogg", *second, "-c:a", "libvorbis")
    assert len(read_audio(path)) / RATE == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.webm", "a.ogg"])
def test_zeros_in_the_middle_are_damage(encode, name):
    path = encode(name, "-b:a", "64k")
    content = bytearray(path.read_bytes())
    middle, size = len(content) // 2, len(content) // 5
    content[middle : middle + size] = bytes(size)
    path.write_bytes(content)
    assert refused(path) in ("has damaged parts", "is cut short")


def test_part_of_a_frame_at_the_end_is_a_warning(encode):
    path = encode("a.aac")
    path.write_bytes(path.read_bytes()[:-50])
    stream = AudioStream(path)
    assert sum(map(len, stream)) / RATE == pytest.approx(SECONDS, abs=0.2)
    problems = [warning.problem for warning in stream.warnings]
    assert problems == ["has a part that is no audio"]


@pytest.mark.parametrize("name", ["a.webm", "a.mp3", "fast.m4a"])
def test_half_a_file_is_cut_short(encode, name):
    path = encode(name, *["-movflags", "faststart"] * name.startswith("fast"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(path) == "is cut short"


def test_unknown_formats_name_the_conversion(tmp_path):
    path = tmp_path / "a.amr"
    path.write_bytes(b"#!no such format" * 99)
    with pytest.raises(AudioError, match="ffmpeg -i IN -ac 1 -ar 16000 OUT.wa"):
        read_audio(path)


def test_a_playlist_opens_no_other_file(encode, tmp_path):
    encode("a.mp3")
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:4,\nhttp://localhost:9/a.mp3\n")
    assert refused(path) == "cannot be read as audio"


def test_worker_processes_read_mp3_after_their_parent(encode):
    path = encode("a.mp3", *NO_HEADER)
    expected = read_audio(path)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(read_audio, [path] * 4):
            np.testing.assert_array_equal(found, expected)
