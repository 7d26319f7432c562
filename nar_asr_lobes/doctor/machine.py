"""Disk and file system of a folder, limits of a process, CPUs."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nar_asr_lobes.doctor.finding import Finding
from nar_asr_lobes.storage import describe_size

_FREE = 20e9  # bytes: a few checkpoints of 300 million parameters
_WRITTEN = 64_000_000  # bytes
_SLOW = 50e6  # bytes a second: such a checkpoint would take a minute
_FILES, _SLOW_FILES = 200, 100.0  # small files, and too few of them a second
_OPEN_FILES = 4096  # shards, pipes of workers, connections
_WANTED_FILES = 65536
_INFINIBAND = Path("/sys/class/infiniband")
_SHM = 1e9  # bytes: batches on their way from the workers


def check_folder(folder: str) -> Iterator[Finding]:
    """Measure the disk of the folder that output or data shall go to."""
    try:
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryDirectory(dir=folder) as inside:
            found = [*_speeds(Path(inside)), _check_locks(Path(inside))]
    except OSError as error:
        text = f"{folder}: {error.strerror or error}"
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        command = "mkdir -p" if missing else "sudo chown $USER"
        yield Finding(text, f"{command} {folder}, or --folder=DIR")
        return
    remedy = "" if free >= _FREE else f"df -h {folder}, and free some"
    yield Finding(f"{folder}: {describe_size(free)} free", remedy)
    yield from found


def _speeds(folder: Path) -> Iterator[Finding]:
    """Write and read one large file and many small ones."""
    remedy = "nar-asr doctor --folder=DIR to find a faster disk"
    block, path = os.urandom(_WRITTEN), folder / "large"
    begin = time.perf_counter()
    with path.open("wb") as file:
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    written = _WRITTEN / (time.perf_counter() - begin)
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):  # else it comes from memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begin = time.perf_counter()
        file.read()
    read = _WRITTEN / (time.perf_counter() - begin)
    text = (
        f"{describe_size(_WRITTEN)} written at {describe_size(written)}/s, "
        f"read at {describe_size(read)}/s"
    )
    yield Finding(text, remedy if min(written, read) < _SLOW else "")
    begin = time.perf_counter()
    for number in range(_FILES):
        small = folder / str(number)
        small.write_bytes(b"1")
        small.read_bytes()
        small.unlink()
    rate = _FILES / (time.perf_counter() - begin)
    text = f"{rate:.0f} small files a second written, read and removed"
    yield Finding(text, remedy if rate < _SLOW_FILES else "")


def _check_locks(folder: Path) -> Finding:
    """Try the lock that keeps a second run out of an output folder."""
    try:
        import fcntl  # not on every system

        with (folder / "lock").open("wb") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError) as error:
        return Finding(
            f"locks: not there ({error}); two runs could write to one folder",
            "mount the file system with locks (Lustre: -o flock)",
        )
    return Finding("locks: work")


def check_limits() -> Iterator[Finding]:
    """Look at the limits that a training of days meets."""
    import resource  # not on every system

    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED_FILES if most == resource.RLIM_INFINITY else most
    remedy = f"ulimit -n {min(most, _WANTED_FILES)}"
    if most < _OPEN_FILES:
        remedy = "raise nofile in /etc/security/limits.conf to 65536"
    text = f"open files: {files} allowed"
    yield Finding(text, remedy if 0 <= files < _OPEN_FILES else "")
    for name, number in (
        ("locked memory", resource.RLIMIT_MEMLOCK),
        ("core files", resource.RLIMIT_CORE),
    ):
        limit = resource.getrlimit(number)[0]
        endless = limit == resource.RLIM_INFINITY
        text = f"{name}: {'unlimited' if endless else describe_size(limit)}"
        if number == resource.RLIMIT_CORE:
            remedy = "ulimit -c 0, or a failing process writes all its memory"
            yield Finding(text, remedy if limit else "", needed=False)
        elif endless or not _INFINIBAND.is_dir():
            yield Finding(text)
        else:
            remedy = "ulimit -l unlimited (memlock in limits.conf), or NCCL "
            yield Finding(text, remedy + "cannot use InfiniBand")


def check_memory() -> Iterator[Finding]:
    """Look at shared memory, CPUs and threads."""
    shm = Path("/dev/shm")
    if shm.is_dir():
        size = shutil.disk_usage(shm).total
        remedy = "sudo mount -o remount,size=16G /dev/shm (docker: --ipc=host)"
        text = f"/dev/shm: {describe_size(size)}"
        yield Finding(text, remedy if size < _SHM else "")
    usable = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
    threads = os.environ.get("OMP_NUM_THREADS")
    text = f"CPUs: {usable} of {os.cpu_count()}, OMP_NUM_THREADS="
    remedy = "export OMP_NUM_THREADS=1 for several processes without torchrun"
    yield Finding(text + (threads or ""), "" if threads else remedy, False)
