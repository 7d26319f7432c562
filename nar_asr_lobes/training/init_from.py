"""What a run takes over from the one it starts from: sizes and weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.limits import require_count
from nar_asr_lobes.lobes.config import ENCODER_KEYS, ModelConfig
from nar_asr_lobes.training.checkpoint import Checkpoint, CheckpointFolder

logger = logging.getLogger(__name__)
# What no tensor's shape would tell.
_SHAPELESS = ("heads", "normalize_audio", "norm_first", "position_distance")


def with_imported_sizes(model: Mapping, folder: str) -> dict:
    """Take over the sizes of an imported encoder.

    They are its own whatever the YAML's ``model`` section says of the encoder;
    what that says of the rest (decoder, intermediate layers, dropout) stays.
    So a YAML needs no other ``model`` section to start from published weights,
    nor does one that starts from what was trained on from them.

    Arguments
    ---------
    model : mapping
        The YAML's section.
    folder : str
        What ``init_from`` names.

    Returns
    -------
    dict
        The section; unchanged where the folder holds no checkpoint, or one
        whose encoder is our own.

    Example
    -------
    >>> with_imported_sizes({"decoder_layers": 3}, "nowhere")
    {'decoder_layers': 3}
    """
    facts = CheckpointFolder(Path(folder) / "checkpoints").facts() or {}
    theirs = facts.get("model", {})
    if theirs.get("encoder") != "wav2vec2":
        return dict(model)
    sizes = ModelConfig.from_dict(theirs)
    return {**model, **{key: getattr(sizes, key) for key in ENCODER_KEYS}}


def load_pretrained(
    model: nn.Module,
    folder: str,
    facts: Mapping[str, object],
    fresh_layers: int = 0,
) -> None:
    """Take over the encoder of another run, and what else means the same.

    CTC head and decoder come along where the tokenizer is the same, what reads
    the intermediate layers where their units are the same too. A pre-training
    that goes on, on other audio, takes all where its targets are the same. The
    last layers of a pre-trained encoder know its targets best and learn others
    slowest; from random weights they may learn sooner (Pasad et al.,
    https://arxiv.org/abs/2107.04734).

    Arguments
    ---------
    model : torch.nn.Module
        Has an ``encoder`` of the same sizes.
    folder : str
        The run's output folder.
    facts : mapping
        Of the run that begins: its ``tokenizer`` and ``phones``, if any, or
        the ``targets`` of its pre-training.
    fresh_layers : int
        The last encoder layers that stay as they are.

    Raises
    ------
    UserError
        When there is no whole checkpoint, its encoder's sizes differ, or it
        has fewer layers.
    """
    checkpoint = CheckpointFolder(Path(folder) / "checkpoints").newest()
    if checkpoint is None:
        raise UserError(
            f"{folder}: holds no whole checkpoint; run pre-training first or "
            "set init_from to null"
        )
    theirs, mine = checkpoint.load("model"), model.state_dict()
    _check_fit(checkpoint, theirs, model)
    parts = ["encoder."]
    if "targets" in facts:
        if _same(checkpoint.facts, facts, "targets"):
            others = {name.partition(".")[0] + "." for name in mine}
            parts += sorted(others - {"encoder."})
    elif _same(checkpoint.facts, facts, "tokenizer"):
        parts += ["ctc_head.", "decoder."]
        if _same(checkpoint.facts, facts, "phones"):
            parts += ["inter_head.", "condition."]
    taken = [
        part
        for part in parts
        if not _misfits(theirs, mine, part)
        and any(name.startswith(part) for name in theirs)
    ]
    layers = model.config.encoder_layers
    require_count("fresh_layers", fresh_layers, 0, layers)
    fresh = tuple(
        f"encoder.layers.layers.{number}."
        for number in range(layers - fresh_layers, layers)
    )
    shared = {
        name: tensor
        for name, tensor in theirs.items()
        if name.startswith(tuple(taken)) and not name.startswith(fresh)
    }
    model.load_state_dict({**mine, **shared})
    logger.info("taken from %s: %s", checkpoint.path, " ".join(taken))
    if fresh:
        logger.info("from random weights: the last %d layers", fresh_layers)
    if "source" in checkpoint.facts:
        logger.info("imported from %s", checkpoint.facts["source"])


def _check_fit(
    checkpoint: Checkpoint, theirs: Mapping, model: nn.Module
) -> None:
    wrong = _misfits(theirs, model.state_dict(), "encoder.")
    if wrong:
        raise UserError(
            f"{checkpoint.path}: its encoder has other sizes than this "
            f"model's ({len(wrong)} tensors differ, the first is {wrong[0]}); "
            "use the same model section in both YAMLs"
        )
    sizes = ModelConfig.from_dict(checkpoint.facts["model"])
    for key in _SHAPELESS:
        wanted, found = getattr(model.config, key), getattr(sizes, key)
        if wanted != found:
            raise UserError(
                f"{checkpoint.path}: its encoder has {key} {found}, this "
                f"model {wanted}; use the same model section in both YAMLs"
            )


def _same(theirs: Mapping, mine: Mapping, name: str) -> bool:
    return theirs.get(name) == mine.get(name)


def _misfits(theirs: Mapping, mine: Mapping, part: str) -> list[str]:
    """Name the tensors of a part that only one has, or in another shape."""
    names = sorted(k for k in theirs.keys() | mine.keys() if k.startswith(part))
    return [
        name
        for name in names
        if name not in theirs
        or name not in mine
        or theirs[name].shape != mine[name].shape
    ]
