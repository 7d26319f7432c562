"""Outcomes are those of the work itself, wherever it runs."""

import os
import signal

import pytest

from nar_asr_lobes.dataio.audio.jobs import AudioJobs, run_audio_jobs
from nar_asr_lobes.errors import AudioError, UserError, audio_error


def count(path, letter):
    """Count a letter of a file; refuse an empty one."""
    with open(path) as file:
        text = file.read()
    if not text:
        raise audio_error(path, "is empty", "fill it")
    return text.count(letter)


def die(path):
    """End the process that works."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def files(tmp_path):
    """Forty files with 1 to 40 times an a."""
    paths = [str(tmp_path / f"{number}.txt") for number in range(1, 41)]
    for number, path in enumerate(paths, 1):
        with open(path, "w") as file:
            file.write("a" * number)
    return paths


@pytest.fixture
def counted(tmp_path):
    """Return a function that counts letters; it gives counts and work done."""

    def call(jobs, processes=None, store="jobs.sqlite"):
        with AudioJobs(tmp_path / store, processes) as made:
            found = run_audio_jobs(count, jobs, "counting")
        return found, made.done, made.reused

    return call


@pytest.mark.parametrize("processes", [None, 1, 2])
def test_every_job_is_done_once(counted, files, processes):
    jobs = [(path, letter) for path in files for letter in "ab"]
    found, done, reused = counted([*jobs, *jobs], processes)
    assert (done, reused) == (80, 0)
    assert list(found) == jobs
    values = [found[path, "a"] for path in files]
    assert values == list(range(1, 41))
    assert not any(found[path, "b"] for path in files)
    assert counted(jobs, processes) == (found, 0, 80)
    assert run_audio_jobs(count, jobs, "counting") == found


def test_a_file_is_known_by_its_size_and_time(counted, files):
    jobs = [(path, "a") for path in files]
    counted(jobs)
    with open(files[0], "a") as file:
        file.write("a")
    os.utime(files[1], ns=(0, 5))
    found, done, _ = counted(jobs)
    assert (found[jobs[0]], done) == (2, 2)


def test_an_error_is_not_kept(counted, tmp_path):
    path = tmp_path / "a.txt"
    path.touch()
    for _ in range(2):
        found, done, _ = counted([(str(path), "a")])
        assert done == 1
    error = found[str(path), "a"]
    assert isinstance(error, AudioError)
    assert (error.problem, error.remedy) == ("is empty", "fill it")


@pytest.mark.parametrize("start", [0, 4096])  # of the table's page
def test_a_damaged_store_is_made_again(counted, files, tmp_path, start):
    jobs = [(path, "a") for path in files]
    counted(jobs)
    with open(tmp_path / "jobs.sqlite", "r+b") as file:
        file.seek(start)
        file.write(b"garbage" * 300)
    found, done, _ = counted(jobs)
    assert (found[files[4], "a"], done) == (5, 40)
    counted(jobs)
    assert counted(jobs)[2] == 40


def test_without_a_store_all_is_done(counted, files, caplog):
    found, done, _ = counted([(files[2], "a")], store="no/jobs.sqlite")
    assert (found[files[2], "a"], done) == (3, 1)
    assert "no/jobs.sqlite: cannot be used (" in caplog.text


def test_a_process_that_dies_is_told(files):
    with pytest.raises(UserError, match="has died, .* fewer --processes"):
        with AudioJobs(None, 2):
            run_audio_jobs(die, [(files[0],)], "dying")
