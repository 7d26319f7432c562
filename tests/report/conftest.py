"""Results of a run and of evaluations."""

import pytest

from nar_asr_lobes.cli.main import main
from tests.report.output_folders import write_run


@pytest.fixture
def run_folder(tmp_path):
    return write_run(tmp_path / "run")


@pytest.fixture
def evaluated(tmp_path, monkeypatch, capsys):
    """Return a function that evaluates or compares a reference and texts."""
    monkeypatch.chdir(tmp_path)
    lines = [
        "id\tspeaker\ttext",
        "u1\ta\tNo {chest/breast} pain.",
        "u2\tb\tYes",
    ]
    (tmp_path / "ref.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "v1.0.txt").write_text("u1\tno breast pan\n")
    (tmp_path / "v1.1.txt").write_text("u1\tno chest pain\nu2\tyes\n")

    def call(command, *options):
        arguments = [command, "ref.tsv", *options, "--normalizer", "english"]
        assert main([*arguments, "--output", "out/result.json"]) == 0
        capsys.readouterr()
        return tmp_path / "out" / "result.json"

    return call
