import os
import shutil
import subprocess
import sys
from pathlib import Path

import nar_asr_lobes
from nar_asr_lobes.jit import jit_entry, jit_inline

PACKAGE = Path(nar_asr_lobes.__file__).parent
CALL = """
import numpy as np
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.tables import DTYPES, NgramTables, read_only
arrays = [-1., -2.], [0, 0], [0.], [0], [-3.], [0, 0], [], [], [], [0]
tables = NgramTables(*map(np.array, arrays))
tables = NgramTables(*map(read_only, tables, DTYPES))
log_prob, _ = score_token(tables, 0, 1)
hits = getattr(score_token, "dispatcher", score_token).stats.cache_hits
print(log_prob, sum(hits.values()))
"""
NO_FOLDER = """
from numba.core import caching
for name in ("InTreeCacheLocator", "UserWideCacheLocator"):
    getattr(caching, name).from_function = lambda *_: None
"""
DISK_FULL = """
from numba.core import caching
def full(*_):
    raise OSError(28, "No space left on device")
caching.IndexDataCacheFile._save_data = full
"""
LINE = "compiling for this processor, about 20 s (kept in "


def call(folder, before="", **environment):
    """Run ``CALL`` in a process that sees the package in this folder."""
    found = subprocess.run(
        [sys.executable, "-c", before + CALL],
        cwd=folder,
        env={"PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in found.stderr
    return found.stdout.split(), found.stderr.splitlines()


def copy_package(folder):
    """Copy the package without what is compiled already."""
    ignored = shutil.ignore_patterns("*.nb?")
    shutil.copytree(PACKAGE, folder / "nar_asr_lobes", ignore=ignored)
    return folder / "nar_asr_lobes"


def test_what_is_on_disk_is_of_the_present_source(tmp_path):
    """Of what a function calls, too: numba alone would keep the old one."""
    copy = copy_package(tmp_path)
    cold, said = call(tmp_path)
    assert cold == ["-2.0", "0"]
    assert len(said) == 1
    assert said[0].startswith(LINE + str(copy / "lm" / "ngram" / "__pycache__"))
    assert call(tmp_path) == (["-2.0", "1"], [])
    called = copy / "lm" / "ngram" / "lookup.py"
    old = "return np.float64(tables.unigram_log_prob[token])"
    assert called.read_text().count(old) == 1
    called.write_text(called.read_text().replace(old, old + " - 1.0"))
    assert call(tmp_path)[0] == ["-3.0", "0"]
    below = copy / "lm" / "below" / "deep.py"
    below.parent.mkdir()
    below.touch()
    assert call(tmp_path)[0] == ["-3.0", "0"]


def test_no_folder_to_write_to(tmp_path):
    """Root may write anywhere, so numba's own search for one is cut short."""
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    found, said = call(tmp_path, NO_FOLDER, **environment)
    folder = tmp_path / f"nar_asr_lobes-{os.getuid()}"
    assert found == ["-2.0", "0"]
    assert len(said) == 1
    assert said[0].startswith(LINE + str(folder))
    assert "NUMBA_CACHE_DIR" in said[0]
    assert call(tmp_path, NO_FOLDER, **environment) == (["-2.0", "1"], [])
    folder.chmod(0o777)  # others could have put code there
    found, said = call(tmp_path, NO_FOLDER, **environment)
    assert found == ["-2.0", "0"]
    assert "at each start; NUMBA_CACHE_DIR" in said[0]


def test_damaged_files_are_compiled_again(tmp_path):
    environment = {
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(PACKAGE.parent),
    }
    assert call(tmp_path, **environment)[0] == ["-2.0", "0"]
    for path in tmp_path.glob("*/*.nb?"):
        path.write_bytes(b"no pickle")
    assert call(tmp_path, **environment)[0] == ["-2.0", "0"]
    assert call(tmp_path, **environment)[0] == ["-2.0", "1"]


def test_a_full_disk_keeps_nothing_and_stops_nothing(tmp_path):
    environment = {
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(PACKAGE.parent),
    }
    found, said = call(tmp_path, DISK_FULL, **environment)
    assert found == ["-2.0", "0"]
    assert said[1:] == [
        "compiled code cannot be kept on disk: "
        "[Errno 28] No space left on device"
    ]


@jit_inline
def twice(value):
    return 2 * value


@jit_entry
def sum_of_both(value):
    return twice(3) + twice(value)


def test_constants_are_no_other_type(tmp_path, monkeypatch):
    from numba import config

    # else an earlier run has compiled it already
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert sum_of_both(4) == 14
    assert len(twice.dispatcher.overloads) == 1
