"""A file is there whole or not at all."""

import errno
import fcntl
import multiprocessing
import os
import re
import signal

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write, lock_folder, write_text


def test_it_takes_the_place_of_the_older_one(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with open(tmp_path / "a", "rb") as older:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
            assert (tmp_path / "a").read_bytes() == b"old"
        assert older.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, OSError(28, "No space left")])
def test_the_older_one_stays_after_an_error(tmp_path, error):
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises((ValueError, UserError)) as caught,
        atomic_write(tmp_path / "a") as file,
    ):
        file.write(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    if caught.type is UserError:
        told = (
            r"a: cannot be written \(No space left; .* free on that disk\); ch"
        )
        assert re.search(told, str(caught.value))


@pytest.mark.parametrize("name", [".", "", "a/b", "x" * 300])
def test_what_cannot_be_written_is_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises(UserError, match=r"cannot be written \(\w.*\); check"),
        atomic_write(name) as file,
    ):
        file.write(b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert len(list(tmp_path.parent.glob("*.tmp"))) == 0


def test_a_folder_is_made_and_text_keeps_what_is_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")  # a file name of another encoding
    write_text(tmp_path / "b" / "a.txt", f"{name}: é\n")
    content = (tmp_path / "b" / "a.txt").read_bytes()
    assert content == "caf\\udce9.wav: é\n".encode()


def hold(folder, ready):
    """Lock a folder, fork as a data loader does, and wait for ever."""
    lock = lock_folder(folder)
    loader = os.fork()
    if loader:
        ready.put(loader)
    signal.pause()
    lock.close()


def test_a_lock_ends_with_its_process_and_not_before(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Queue()
    holder = fork.Process(target=hold, args=(tmp_path, ready), daemon=True)
    holder.start()
    loader = ready.get(timeout=60)
    try:
        told = f"another run writes there .process {holder.pid} on .*; wait"
        with pytest.raises(UserError, match=told):
            lock_folder(tmp_path)
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
        lock_folder(tmp_path).close()  # though a process it forked still lives
    finally:
        os.kill(loader, signal.SIGKILL)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    lock_folder(tmp_path).close()
    assert "no lock is possible there ([Errno" in caplog.text


def test_a_folder_that_cannot_be_made_is_not_locked(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(UserError, match="a/b: cannot be written .Not a direc"):
        lock_folder(tmp_path / "a" / "b")
