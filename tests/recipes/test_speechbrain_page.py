"""docs/speechbrain.md: the code of the page runs as it is printed."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "speechbrain.md"
BLOCK = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
SMALL = {"d_model": 24, "heads": 2, "ffn_dim": 48}
DATA = {"train_csv": "clips.csv", "valid_csv": "clips.csv"}
STEPS = {"number_of_epochs": 1, "batch_size": 3}  # of 8 clips: three


@pytest.fixture
def blocks(tmp_path, tone_clips, monkeypatch):
    """The page's code by name, in files of the working folder with data."""
    found = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    train = found["train.yaml"]
    parts, rest = train.index("stem: "), train.index("opt_class: ")
    end = train.index("checkpointer: ")
    found["whole.yaml"] = train[:parts] + train[rest:end] + found["whole.yaml"]
    for name, text in found.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with open(tmp_path / "clips.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ID", "duration", "wav", "wrd"])
        for clip in tone_clips:
            rows.writerow([clip.id, clip.duration, clip.audio, clip.text])
    monkeypatch.chdir(tmp_path)
    return found


def run(yaml, *script):
    """Run a script of the page on the clips, for three steps."""
    options = {**DATA, **SMALL, **STEPS, "device": "cpu"}
    done = subprocess.run(
        [sys.executable, *script, yaml]
        + [f"--{key}={value}" for key, value in options.items()],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:.", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_learned(yaml, name, weights):
    """All weights are finite, and some of them no longer the first ones."""
    options = "\n".join(f"{k}: {v}" for k, v in {**DATA, **SMALL}.items())
    text = Path(yaml).read_text(encoding="utf-8")
    first = load_hyperpyyaml(text, options)["modules"][name].state_dict()
    assert set(first) == set(weights)
    assert all(value.isfinite().all() for value in weights.values())
    assert any(not torch.equal(weights[key], first[key]) for key in first)


def test_a_stock_brain_trains_the_lobes_three_steps(blocks):
    count = "import sys, train as t; b = t.main(sys.argv[1:]); "
    count += "print(type(b).__mro__[1], b.optimizer_step)"
    printed = run("train.yaml", "-c", count)
    assert printed.endswith("<class 'speechbrain.core.Brain'> 3\n")
    assert re.search(r"epoch 1: loss \d+\.\d+, WER \d+\.\d+ %", printed)
    (saved,) = Path("results/lobes/save").iterdir()
    for name in ("frontend", "encoder", "ctc_head", "decoder"):
        weights = torch.load(saved / f"{name}.ckpt", weights_only=True)
        assert_learned("train.yaml", name, weights)


def test_the_whole_model_becomes_a_bundle_that_opens(blocks, tone_clips):
    run("whole.yaml", "whole.py")
    Path("visit.wav").write_bytes(Path(tone_clips[0].audio).read_bytes())
    page = {}
    exec(blocks["open.py"], page)
    assert page["texts"] == [page["text"]]
    assert page["states"].shape[::2] == (1, SMALL["d_model"])
    weights = page["asr"].mods.model.state_dict()
    assert_learned("whole.yaml", "model", weights)
