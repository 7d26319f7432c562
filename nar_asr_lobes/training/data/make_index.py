"""Making an index of a recipe's training split.

prepare() -> train: shards and rows, see ``dataio.index``
          -> the other splits: manifests/
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from nar_asr_lobes.dataio.audio.jobs import AudioJobs
from nar_asr_lobes.dataio.index.build import build_index
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.dataio.prepare import collect_left_out
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data.prepare import (
    LEFT_OUT,
    STORE,
    Prepare,
    find_splits,
    write_manifests,
)


def make_index(
    config: RunConfig, prepare: Prepare, processes: int, shards: bool
) -> None:
    """Index the training split; write the manifests of the others.

    Arguments
    ---------
    config : RunConfig
        Of a recipe; the index goes into its output folder.
    prepare : callable
        The recipe's parser.
    processes : int
        That work at the same time.
    shards : bool
        Whether the audio is stored too.
    """
    if config.task not in ("pretrain", "finetune"):
        raise UserError(
            f"an index is for training, not for {config.task}; name the YAML "
            "of a pre-training or a fine-tuning"
        )
    output, data = Path(config.output_folder), config.data
    if config.train_share < 1:
        raise UserError("train_share is not for an index; leave it out")
    rules = PartRules(
        str(Path(config.data_folder).absolute()),
        data.text_style,
        data.min_seconds,
        data.max_seconds,
        data.check_audio,
        shards,
    )
    with (
        AudioJobs(output / STORE, processes),
        collect_left_out() as left_out,
    ):
        splits = {
            name: islice(rows, config.debug_utterances)
            for name, rows in find_splits(config, prepare).items()
        }
        rows = splits.pop(data.train)
        write_manifests(config, splits)
        findings = build_index(rows, output, rules, processes)
    lines = [f"data_folder: {finding}\n" for finding in left_out]
    lines += [f"{data.train}: {finding}\n" for finding in findings]
    write_text(output / LEFT_OUT, "".join(lines))
