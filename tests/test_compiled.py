import shutil
import subprocess
import sys
from pathlib import Path

import nar_asr_lobes

CALL = """
import numpy as np
from nar_asr_lobes.lm.lookup import score_token
from nar_asr_lobes.lm.tables import DTYPES, NgramTables, read_only
arrays = [-1., -2.], [0, 0], [0.], [0], [-3.], [0, 0], [], [], [], [0]
tables = NgramTables(*map(np.array, arrays))
tables = NgramTables(*map(read_only, tables, DTYPES))
log_prob, _ = score_token(tables, 0, 1)
print(log_prob, sum(score_token.stats.cache_hits.values()))
"""


def test_what_is_on_disk_is_of_the_present_source(tmp_path):
    """Of what a function calls, too: numba alone would keep the old one."""
    package = Path(nar_asr_lobes.__file__).parent
    copy = tmp_path / "nar_asr_lobes"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("*.nb?"))

    def call():
        found = subprocess.run(
            [sys.executable, "-c", CALL],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout.split()

    assert call() == ["-2.0", "0"]
    assert call() == ["-2.0", "1"]
    called = copy / "lm" / "lookup.py"
    old = "return np.float64(tables.unigram_log_prob[token])"
    assert called.read_text().count(old) == 1
    called.write_text(called.read_text().replace(old, old + " - 1.0"))
    assert call() == ["-3.0", "0"]
