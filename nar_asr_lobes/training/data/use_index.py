"""Training on indexes instead of a data folder.

index.json -> fingerprint, compared on resume
manifests/ -> those of the run, for the small splits
data.weights -> the order of the corpora
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.index.rows import Corpora
from nar_asr_lobes.dataio.manifest import (
    Utterance,
    read_manifest,
    write_manifest,
)
from nar_asr_lobes.dataio.stream import UtteranceStream
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.metadata import refuse_changes


def take_index(config: RunConfig, splits: Sequence[str]) -> str:
    """Check the indexes, and take over the manifests of the other splits.

    For the main process; nothing that it does grows with the training split,
    but one look at each shard. Returns the digest of the training split.
    """
    output, data = Path(config.output_folder), config.data
    _refuse_options(config)
    corpora = Corpora(data.index)
    index_stream(config, corpora)  # refuses weights of other corpora
    if len(corpora) < config.global_batch:
        raise UserError(
            f"data.index has {len(corpora)} utterances, fewer than a step "
            f"({config.global_batch}); lower global_batch or add corpora"
        )
    digest = hashlib.sha256()
    for name, part in corpora.parts.items():
        part.require_files()
        digest.update(f"{name} {part.header.fingerprint}\n".encode())
    refuse_changes(output, data.train, digest.hexdigest(), lambda: "an index")
    for split in splits:
        path = output / "manifests" / f"{split}.jsonl"
        write_manifest(path, _joined(corpora, split), "/")
    return digest.hexdigest()


def _refuse_options(config: RunConfig) -> None:
    """Refuse tasks and options that need a list of all utterances."""
    if config.task not in ("pretrain", "finetune"):
        raise UserError(
            f"data.index is for training, not for {config.task}; give "
            "data_folder alone"
        )
    if config.data.sorted_epochs:
        raise UserError(
            "data.sorted_epochs is for sets that fit into memory; set it to 0 "
            "with data.index"
        )
    if config.train_share < 1:
        raise UserError(
            "train_share is for sets that fit into memory; leave it out with "
            "data.index"
        )


def _joined(corpora: Corpora, split: str) -> Iterator[Utterance]:
    """Read a split of all corpora; ids begin with the corpus's name."""
    for name, part in corpora.parts.items():
        manifest = f"manifests/{split}.jsonl"
        if part.files.size(manifest) is None:
            raise UserError(
                f"{part.place}: was made without the split {split!r}; make it "
                "again with this run's YAML"
            )
        for row in read_manifest(part.files.local(manifest)):
            yield replace(row, id=f"{name}-{row.id}")


def index_stream(config: RunConfig, corpora: Corpora) -> UtteranceStream:
    """Give the order of indexed corpora, mixed by ``data.weights``."""
    weights = config.data.weights
    if not weights:
        return UtteranceStream(corpora.sizes, seed=config.seed)
    if set(weights) != set(corpora.parts):
        raise UserError(
            f"data.weights are for {', '.join(weights)}, but data.index has "
            f"{', '.join(corpora.parts)}; give each one a weight"
        )
    ordered = [weights[name] for name in corpora.parts]
    return UtteranceStream(corpora.sizes, ordered, config.seed)
