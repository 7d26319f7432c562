"""Pipes and standard input become files that can be read twice."""

import io
import os
import threading
from types import SimpleNamespace

import pytest

from nar_asr_lobes.dataio.audio.errors import AudioError
from nar_asr_lobes.inference.pipes import on_disk


def test_files_stay_where_they_are(tmp_path):
    for path in (str(tmp_path), str(tmp_path / "gone.wav")):
        with on_disk(path) as found:
            assert found == path


def test_a_pipe_is_copied_and_the_copy_removed(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = os.urandom(3 * 2**20)
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    with on_disk(str(pipe)) as path:
        with open(path, "rb") as file:
            assert file.read() == content
    writer.join()
    assert not os.path.exists(path)


def test_standard_input(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"samples"))
    monkeypatch.setattr("sys.stdin", stdin)
    with on_disk("-") as path, open(path, "rb") as file:
        assert file.read() == b"samples"
    assert not stdin.buffer.closed


def test_no_space_for_the_copy(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    stdin = SimpleNamespace(buffer=SimpleNamespace(read=full))
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(AudioError, match="-: cannot be copied .*TMPDIR"):
        with on_disk("-"):
            pass
