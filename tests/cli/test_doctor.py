"""``nar-asr doctor``: all lines, and its exit status."""

import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.doctor import all_reduce, machine, software
from nar_asr_lobes.doctor.finding import Finding

OK = Finding("all is well")


@pytest.fixture
def checks(monkeypatch):
    """Return a function that replaces the checks of packages and limits."""

    def replace(packages, limits=OK):
        single, parts = [OK], (software, machine, all_reduce)
        for part in parts:
            for name in dir(part):
                if name.startswith("check_"):
                    monkeypatch.setattr(part, name, lambda *_: single)
        monkeypatch.setattr(software, "check_pair", lambda: Finding("pair"))
        monkeypatch.setattr(software, "check_packages", lambda: [packages])
        monkeypatch.setattr(machine, "check_limits", lambda: [limits])

    return replace


@pytest.mark.parametrize(
    ("packages", "limits", "status", "pair"),
    [
        (OK, OK, 0, True),
        (Finding("kenlm: is not there", "pip", needed=False), OK, 0, True),
        (Finding("torchaudio 2.10: is another", "pip"), OK, 1, False),
        (OK, Finding("open files: 5", "ulimit"), 1, True),
    ],
)
def test_status_and_lines(capsys, checks, packages, limits, status, pair):
    checks(packages, limits)
    assert main(["doctor"]) == status
    printed = capsys.readouterr().out.splitlines()
    assert str(packages) in printed and str(limits) in printed
    assert ("ok    pair" in printed) == pair


def test_this_machine_passes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_SLOW", 0)  # beside whatever runs here
    monkeypatch.setattr(machine, "_SLOW_FILES", 0)
    monkeypatch.setattr(machine, "_FREE", 0)
    monkeypatch.setattr(machine, "_WRITTEN", 1_000_000)
    monkeypatch.setattr(all_reduce, "check_all_reduce", lambda: [OK])
    assert main(["doctor", f"--folder={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert f"ok    {tmp_path}: " in printed and "mend" not in printed
