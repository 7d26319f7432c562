"""The installer of `make demo` and `make test`, on machines made up here."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.consistency.tree_rules import python_files

ROOT = Path(__file__).parents[2]
UTILITIES = ("sh", "dirname", "cmp", "mkdir", "tail", "cp", "cat", "chmod")
# Stands for a Python with all it needs; the interpreter of the environment
# that it makes notes each installation and fails where FAIL_AT says.
PYTHON = """#!/bin/sh
[ "$1" = -c ] && exit 0
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'END'
#!/bin/sh
[ "$3" = --version ] && exit 0
[ "$1" = -c ] && exit 0
for last; do :; done
echo "noise of pip for $last"
echo "$last" >>installed.txt
[ "$last" != "$FAIL_AT" ]
END
chmod +x "$3/bin/python"
"""
OLD_PYTHON = """#!/bin/sh
exit 1
"""
BARE_PYTHON = """#!/bin/sh
case "$2" in *version_info*) exit 0 ;; esac
exit 1
"""
WITHOUT_HEADERS = PYTHON.replace(
    "[ ", 'case "$2" in *Python.h*) exit 1 ;; esac\n[ ', 1
)
TOOL = """#!/bin/sh
exit 0
"""


@pytest.fixture
def machine(tmp_path):
    """A copy of the installer, and a PATH with a shell's utilities only."""
    (tmp_path / "repo" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "install", tmp_path / "repo" / ".ci")
    shutil.copy(ROOT / "setup.py", tmp_path / "repo")
    (tmp_path / "bin").mkdir()
    for name in UTILITIES:
        path = shutil.which(name)
        add(tmp_path, name, f'#!/bin/sh\nexec {path} "$@"\n')
    return tmp_path


def add(machine, name, script):
    path = machine / "bin" / name
    path.write_text(script, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def install(machine, *target, **variables):
    return subprocess.run(
        [shutil.which("sh"), ".ci/install", *(target or ["test"])],
        cwd=machine / "repo",
        env={"PATH": str(machine / "bin"), **variables},
        capture_output=True,
        text=True,
    )


def installed(machine):
    """The sets of packages that were installed, in order."""
    return (machine / "repo" / "installed.txt").read_text().split()


def complete(machine):
    add(machine, "python3", PYTHON)
    add(machine, "c++", TOOL)
    add(machine, "cmake", TOOL)


@pytest.mark.parametrize(
    ("tools", "first_line"),
    [
        (
            {},
            "missing: Python >= 3.10, a C++ compiler, cmake; get it with: sudo "
            "apt install python3 python3-venv python3-dev g++ cmake",
        ),
        (
            {"python3": OLD_PYTHON, "g++": TOOL, "cmake": TOOL},
            "missing: Python >= 3.10; get it with: "
            "sudo apt install python3 python3-venv python3-dev",
        ),
        (
            {"python3": BARE_PYTHON, "g++": TOOL, "cmake": TOOL},
            "missing: the venv module of python3, Python.h of python3; get it "
            "with: sudo apt install python3-venv python3-dev",
        ),
        (
            {"python3": PYTHON, "cmake": TOOL},
            "missing: a C++ compiler; get it with: sudo apt install g++",
        ),
        (
            {"python3": PYTHON, "clang++": TOOL},
            "missing: cmake; get it with: sudo apt install cmake",
        ),
    ],
)
def test_what_is_missing_is_the_first_line(machine, tools, first_line):
    for name, script in tools.items():
        add(machine, name, script)
    done = install(machine)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines() == [first_line]
    assert not (machine / "repo" / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(machine):
    complete(machine)
    add(machine, "python3", OLD_PYTHON)
    add(machine, "python3.11", PYTHON)
    assert "making .venv with python3.11" in install(machine).stdout


def test_the_named_python_is_the_only_one_tried(machine):
    complete(machine)
    done = install(machine, PYTHON="python3.9")
    assert "missing: Python >= 3.10 (not python3.9);" in done.stderr


def test_the_demo_needs_neither_compiler_nor_headers(machine):
    first_line = (
        "missing: Python >= 3.10; get it with: sudo apt install python3 "
        "python3-venv"
    )
    assert install(machine, "demo").stderr.splitlines() == [first_line]
    add(machine, "python3", BARE_PYTHON)
    first_line = (
        "missing: the venv module of python3; get it with: sudo apt install "
        "python3-venv"
    )
    assert install(machine, "demo").stderr.splitlines() == [first_line]
    add(machine, "python3", WITHOUT_HEADERS)
    done = install(machine, "demo")
    assert done.returncode == 0, done.stderr
    assert [line[:5] for line in done.stdout.splitlines()] == ["[1/2]", "[2/2]"]
    assert installed(machine) == [".[demo]"]
    assert "missing: Python.h of python3, a C++ comp" in install(machine).stderr


@pytest.mark.parametrize("target", ["demo", "test"])
def test_one_line_a_step_and_nothing_the_second_time(machine, target):
    complete(machine)
    first = install(machine, target)
    assert first.returncode == 0, first.stderr
    steps = {"demo": 2, "test": 4}[target]
    lines = [line[:5] for line in first.stdout.splitlines()]
    assert lines == [f"[{i}/{steps}]" for i in range(1, steps + 1)]
    log = (machine / "repo" / ".venv" / "install.log").read_text()
    assert log.count("noise of pip") == steps - 1
    (machine / "bin" / "python3").unlink()
    second = install(machine, target)
    assert (second.returncode, second.stdout + second.stderr) == (0, "")


def test_the_tests_install_the_rest_and_the_demo_then_nothing(machine):
    complete(machine)
    install(machine, "demo")
    assert "[4/4]" in install(machine, "test").stdout
    assert installed(machine) == [".[demo]"] * 2 + [
        ".[lm]",
        ".[lm,demo,eval,dev]",
    ]
    for target in ("demo", "test"):
        assert install(machine, target).stdout == ""


@pytest.mark.parametrize("target", ["", "docs"])
def test_an_unknown_target_is_refused(machine, target):
    complete(machine)
    done = install(machine, target)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: sh .ci/install demo|test\n"


def test_a_changed_setup_installs_again(machine):
    complete(machine)
    install(machine)
    with (machine / "repo" / "setup.py").open("a") as file:
        file.write("# another pin\n")
    assert "[2/2]" in install(machine, "demo").stdout
    assert "[4/4]" in install(machine, "test").stdout


def test_a_failed_step_shows_the_log_and_is_done_again(machine):
    complete(machine)
    failed = install(machine, FAIL_AT=".[lm]")
    assert failed.returncode != 0
    assert "[4/4]" not in failed.stdout
    assert "this step failed; the end of .venv/install.log" in failed.stderr
    assert "noise of pip for .[lm]" in failed.stderr
    again = install(machine)
    assert again.returncode == 0
    assert "[4/4]" in again.stdout
    assert installed(machine)[-3:] == [
        ".[demo]",
        ".[lm]",
        ".[lm,demo,eval,dev]",
    ]


def test_nothing_but_the_tests_imports_kenlm():
    paths = python_files(ROOT, "nar_asr_lobes", "recipes")
    assert len(paths) > 50
    pattern = re.compile(r"^\s*(import|from) kenlm", re.MULTILINE)
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    assert [path for path in paths if pattern.search(texts[path])] == []


def test_the_continuous_check_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").split("\n")[-2] == "make test"


@pytest.mark.parametrize("target", ["demo", "test"])
def test_targets_install_first(target):
    done = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].endswith(f"sh .ci/install {target}")
    assert lines[1].startswith(".venv/bin/")
