"""Files, pipes, standard input and arrays become streams of blocks."""

import io
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.errors import AudioError, UserError
from nar_asr_lobes.inference.sources import open_source


def path_of(source):
    with open_source(source, None, 60.0) as stream:
        return stream.path


def read(samples, rate=16000, limit=60.0):
    with open_source(samples, rate, limit) as stream:
        return np.concatenate(list(stream))


def test_files_stay_where_they_are(tmp_path):
    for path in (str(tmp_path), str(tmp_path / "gone.wav")):
        assert path_of(path) == path


def test_a_pipe_is_copied_and_the_copy_removed(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = os.urandom(3 * 2**20)
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    with open_source(pipe, None, 60.0) as stream:
        with open(stream.path, "rb") as file:
            assert file.read() == content
    writer.join()
    assert not os.path.exists(stream.path)


def test_standard_input(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"samples"))
    monkeypatch.setattr("sys.stdin", stdin)
    with open_source("-", None, 60.0) as stream:
        with open(stream.path, "rb") as file:
            assert file.read() == b"samples"
    assert not stdin.buffer.closed


def test_no_space_for_the_copy(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    stdin = SimpleNamespace(buffer=SimpleNamespace(read=full))
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(AudioError, match="-: cannot be copied .*TMPDIR"):
        path_of("-")


@pytest.fixture
def wav():
    """Nine seconds of noise at 8 kHz in two channels, as 16-bit numbers."""
    rng = np.random.default_rng(0)
    return rng.integers(-9000, 9000, (72000, 2), dtype=np.int16)


def test_an_array_is_read_as_its_file_is(wav, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, wav, 8000)
    expected = read_audio(path)
    assert np.array_equal(read(wav, 8000), expected)
    floats = torch.from_numpy(soundfile.read(path)[0])
    for samples in (floats, floats.float(), floats.numpy(), floats.flip(0)):
        found = read(samples, 8000)
        assert (found.dtype, len(found)) == (np.float32, 144000)
    assert np.array_equal(read(floats, 8000), expected)
    assert np.array_equal(read(floats[:, :1], 8000), read(floats[:, 0], 8000))


def test_the_array_itself_is_never_changed(wav):
    samples = wav[:, 0].astype(np.float32) / 2**15
    [block] = iter_blocks(samples[:16000])
    block[:] = 0
    assert samples[:16000].any()


def iter_blocks(samples):
    with open_source(samples, 16000, 60.0) as stream:
        return list(stream)


def test_half_precision_and_gradients(wav):
    samples = torch.linspace(-1, 1, 1600, dtype=torch.bfloat16)
    samples.requires_grad_()
    assert np.allclose(read(samples), np.linspace(-1, 1, 1600), atol=0.01)


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros(0), "array: holds no samples"),
        (np.zeros((0, 2)), "array: holds no samples"),
        (
            np.zeros((2, 900)),
            r"samples, channels. \(shape .2, 900.\); transpose",
        ),
        (np.zeros(()), "no audio of shape"),
        (np.zeros((1, 2, 3)), r"no audio of shape .* \(shape .1, 2, 3.\)"),
        (np.zeros(900, np.uint8), "neither floats nor signed .*uint8"),
        (np.full(900, np.nan), "array: has samples that are not finite"),
        (np.full(900, 99.0), "array: has samples beyond 8 times"),
        (np.zeros(61 * 16000), "array: is longer than the limit of 60 s"),
    ],
)
def test_arrays_that_cannot_be_used(samples, message):
    with pytest.raises(AudioError, match=message):
        read(samples)


def test_a_rate_that_is_missing_or_wrong():
    with pytest.raises(AudioError, match="sample rate outside .*16 Hz"):
        read(np.zeros(900), 16)
    with pytest.raises(UserError, match="sample rate of the array is missing"):
        read(np.zeros(900), None)
