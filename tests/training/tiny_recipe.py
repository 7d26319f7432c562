"""A recipe of one second a run: tone speech, a tiny model, two steps.

Its ``prepare`` is the one that reads ``utterances.tsv``; each test changes the
data, a file of the run or the command line, and looks at what main() says.
"""

import random
import shutil
import sys
from functools import cache
from pathlib import Path

from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.training.run import main
from tests.recipes.librispeech_tree import make_table, sentence
from tests.recipes.running import Outcome, call

DURATION, TEXT = 4, 5  # columns of utterances.tsv
_HEAD = """\
task: {task}
data_folder: !PLACEHOLDER
output_folder: out
"""
_TRAINING = """\
steps: 2
global_batch: 4
peak_lr: 1.0e-3
data:
   min_seconds: 0.3
   max_seconds: 5
   check_audio: True
tokenizer:
   kind: char
model:
   stem_channels: 24
   stem_filters: 20
   d_model: 32
   heads: 2
   ffn_dim: 64
   encoder_layers: 2
   decoder_layers: 1
   conv_kernel: 5
   inter_ctc_layers: [1]
   dropout: 0.0
optim:
   optimizer: !name:torch.optim.AdamW
      betas: [0.9, 0.98]
   scheduler: !name:nar_asr_lobes.training.optim.scheduler.WarmupCosine
      peak_lr: !ref <peak_lr>
logging:
   tensorboard: False
"""
_OBJECTIVES = {
    "pretrain": """\
objective: !new:nar_asr_lobes.objectives.best_rq.BestRqObjective
   mask_prob: 0.5
   mask_span: 4
   codebooks: 1
   codes: 16
""",
    "finetune": """\
objective: !name:nar_asr_lobes.objectives.recognition.RecognitionObjective
   decoder_weight: 0.3
   inter_weight: 0.5
lm:
   order: 2
   tune: False
""",
}
YAMLS = {
    task: _HEAD.format(task=task) + _TRAINING + objective
    for task, objective in _OBJECTIVES.items()
} | {"evaluate": _HEAD.format(task="evaluate") + "bundle: out/bundle\n"}


def write_yamls(folder: Path) -> Path:
    """Write the YAML of each task into a folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, text in YAMLS.items():
        (folder / f"{task}.yaml").write_text(text)
    return folder


def make_corpus(root: Path) -> Path:
    """Write ten utterances of train, and three each of dev and test."""
    rng = random.Random(1)
    return make_table(
        root,
        [
            (f"{split}{number}", f"s-{split}", split, sentence(rng))
            for split, count in (("train", 10), ("dev", 3), ("test", 3))
            for number in range(count)
        ],
    )


def edit_row(root: Path, name: str, column: int, value: str) -> None:
    """Change one field of a row of utterances.tsv."""
    table = root / "utterances.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    [row] = [row for row in rows if row[0] == name]
    row[column] = value
    table.write_text("".join("\t".join(row) + "\n" for row in rows))


def prepare(data_folder: str):
    """List the utterances, as a recipe's parser does."""
    return tsv_utterances(data_folder)


def run_tiny(folder: Path, task: str, *options: str) -> Outcome:
    """Run a task in a folder with YAMLs, ``data`` and ``out``."""
    return call(
        [
            folder / f"{task}.yaml",
            f"--data_folder={folder / 'data'}",
            f"--output_folder={folder / 'out'}",
            *options,
        ],
        prepare,
    )


@cache
def finished_runs(root: Path) -> Path:
    """Make, once, a folder with ``data``, ``pretrain`` and ``finetune``."""
    folder = write_yamls(root / "tiny_recipe")
    make_corpus(folder / "data")
    for task in ("pretrain", "finetune"):
        outcome = run_tiny(folder, task, f"--output_folder={folder / task}")
        assert outcome.code == 0, outcome.err
    return folder


def copy_of(finished: Path, folder: Path) -> Path:
    """Copy YAMLs and data, so that a test may damage them."""
    shutil.copytree(finished / "data", folder / "data")
    return write_yamls(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prepare))
