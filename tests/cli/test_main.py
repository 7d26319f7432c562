"""The entry point: help, mistakes, exit status."""

import os
import subprocess
import sys

import pytest

from nar_asr_lobes import __version__
from nar_asr_lobes.cli.main import COMMANDS, main


@pytest.mark.parametrize("arguments", [["--help"], ["transcribe", "--help"]])
def test_help_names_every_command(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    names = COMMANDS if arguments == ["--help"] else arguments[:1]
    assert all(name in printed for name in names)


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert (stop.value.code, capsys.readouterr().out.strip()) == (
        0,
        __version__,
    )


@pytest.mark.parametrize("arguments", [[], ["sing"], ["transcribe"]])
def test_wrong_usage_ends_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: nar-asr" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_mistake_is_one_line_without_a_traceback(capsys, tmp_path, name):
    folder = tmp_path / name
    assert main(["transcribe", "a.wav", "--bundle", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {folder}: is not a bundle")
    assert err.count("\n") == 1


def test_help_does_not_wait_for_heavy_imports():
    code = (
        "import sys; from nar_asr_lobes.cli import main; main._parser(); "
        "print({'torch', 'numpy', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_reader_that_has_had_enough(bundle_folder, files):
    """As in ``nar-asr transcribe … | head -1``: no traceback."""
    command = [sys.executable, "-m", "nar_asr_lobes.cli.main", "transcribe"]
    process = subprocess.Popen(
        [*command, *files, "--bundle", bundle_folder, "--mode", "ctc_greedy"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_as_a_program(bundle_folder, files, tmp_path):
    command = [sys.executable, "-m", "nar_asr_lobes.cli.main", "transcribe"]
    command += [*files, "gone.wav", "--bundle", str(bundle_folder)]
    command += ["--format", "json", "--threads", "1"]
    done = subprocess.run(
        [*command, "--output-dir", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines(keepends=True)
    # what is not compiled yet is said first
    assert "".join(x for x in lines if not x.startswith("compiling ")) == (
        "gone.wav: is missing; check the path\n"
        "1 of 4 files could not be transcribed\n"
    )
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a.json", "b.json", "c.json"]
