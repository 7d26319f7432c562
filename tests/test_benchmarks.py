"""Messages of benchmarks that cannot begin."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_missing_data_folder_is_one_sentence(tmp_path):
    """The script builds no model before it has read the list."""
    outcome = subprocess.run(
        [
            sys.executable,
            "pretrain_step.py",
            f"--data_folder={tmp_path / 'nowhere'}",
        ],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    [line] = outcome.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/nowhere/utterances.tsv: cannot")
    assert line.endswith("check the data folder")
