"""Disk, limits and memory of machines made up here."""

import errno
import os
import re
import resource
import types

import pytest

from nar_asr_lobes.doctor import machine


def lines(findings):
    return [str(finding) for finding in findings]


@pytest.fixture
def disk(monkeypatch):
    """Return a function that sets the size and the free bytes of disks."""

    def make(size):
        usage = types.SimpleNamespace(total=size, free=size)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    monkeypatch.setattr(machine, "_WRITTEN", 1_000_000)
    for name in ("_SLOW", "_SLOW_FILES"):  # beside whatever runs here
        monkeypatch.setattr(machine, name, 0)
    make(1e12)
    return make


def test_a_folder_is_measured_and_left_as_it_was(tmp_path, disk):
    found = lines(machine.check_folder(str(tmp_path)))
    assert found[0] == f"ok    {tmp_path}: 1000.0 GB free"
    assert re.match("ok    1 MB written at [^ ]+ .B/s, read at ", found[1])
    assert "small files a second" in found[2]
    assert found[3] == "ok    locks: work"
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    place = f"{tmp_path}/new"
    [found] = lines(machine.check_folder(place))
    assert found == (
        f"mend  {place}: No such file or directory; mkdir -p {place}, or "
        "--folder=DIR"
    )
    assert os.listdir(tmp_path) == []


def test_a_full_or_slow_disk(tmp_path, disk, monkeypatch):
    disk(3e9)
    monkeypatch.setattr(machine, "_SLOW", 1e12)
    monkeypatch.setattr(machine, "_SLOW_FILES", 1e9)
    found = lines(machine.check_folder(str(tmp_path)))
    assert found[0] == (
        f"mend  {tmp_path}: 3.0 GB free; df -h {tmp_path}, and free some"
    )
    for line in found[1:3]:
        assert line.startswith("mend  ")
        assert line.endswith(
            "; nar-asr doctor --folder=DIR to find a faster disk"
        )


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    place = f"{tmp_path}/file"
    [found] = lines(machine.check_folder(place))
    assert found.startswith(f"mend  {place}: Not a directory; mkdir -p ")


def test_a_file_system_without_locks(tmp_path, disk, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    [found] = lines(machine.check_folder(str(tmp_path)))[3:]
    assert found.startswith("mend  locks: not there (")
    assert "two runs could write to one folder; mount the file" in found


@pytest.fixture
def limits(monkeypatch):
    """Return a function that sets all limits; -1: unlimited."""

    def make(**given):
        table = {getattr(resource, k): (v, v) for k, v in given.items()}
        table = {resource.RLIMIT_NOFILE: (-1, -1), **table}
        monkeypatch.setattr(
            resource, "getrlimit", lambda number: table.get(number, (0, 0))
        )
        return lines(machine.check_limits())

    return make


def test_limits(limits, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_INFINIBAND", tmp_path / "none")
    assert limits(RLIMIT_NOFILE=20000, RLIMIT_MEMLOCK=8 << 20) == [
        "ok    open files: 20000 allowed",
        "ok    locked memory: 8 MB",
        "ok    core files: 0 MB",
    ]
    assert limits(RLIMIT_NOFILE=1024)[0] == (
        "mend  open files: 1024 allowed; raise nofile in "
        "/etc/security/limits.conf to 65536"
    )
    assert limits(RLIMIT_CORE=-1)[2].startswith(
        "note  core files: unlimited; ulimit -c 0"
    )
    monkeypatch.setattr(machine, "_INFINIBAND", tmp_path)
    assert limits(RLIMIT_MEMLOCK=-1)[1] == "ok    locked memory: unlimited"
    assert limits(RLIMIT_MEMLOCK=8 << 20)[1].startswith(
        "mend  locked memory: 8 MB; ulimit -l unlimited"
    )


def test_a_limit_that_the_user_may_raise(monkeypatch):
    for most, wanted in ((8192, 8192), (-1, 65536), (1 << 20, 65536)):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, most))  # noqa: B023
        assert lines(machine.check_limits())[0] == (
            f"mend  open files: 256 allowed; ulimit -n {wanted}"
        )


def test_shared_memory_and_threads(disk, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert lines(machine.check_memory()) == [
        "ok    /dev/shm: 1000.0 GB",
        "ok    CPUs: 3 of 8, OMP_NUM_THREADS=1",
    ]
    disk(64e6)
    monkeypatch.delenv("OMP_NUM_THREADS")
    first, second = lines(machine.check_memory())
    assert first.startswith("mend  /dev/shm: 64 MB; sudo mount -o remount,size")
    assert second.startswith("note  CPUs: 3 of 8, OMP_NUM_THREADS=; export OMP")
