"""Starting from another run: its sizes and weights, and frozen parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ENCODER_KEYS, ENCODERS, ModelConfig
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.training.checkpoint import Checkpoint, CheckpointFolder
from nar_asr_lobes.training.config import RunConfig

logger = logging.getLogger(__name__)
# Sizes that no tensor's shape would tell.
_SHAPELESS = ("heads", "normalize_audio", "norm_first", "position_distance")


def with_imported_sizes(model: Mapping, *folders: str) -> dict:
    """Take over the sizes of an imported encoder.

    They replace the encoder's sizes in the YAML's ``model`` section; its other
    keys (decoder, intermediate layers, dropout) stay. So a YAML needs no other
    ``model`` section to start from published weights, or from a run that
    started from them.
    """
    found = (_checkpoints(folder).metadata() for folder in folders)
    saved = next((metadata for metadata in found if metadata), {}).get(
        "model", {}
    )
    if not saved or not ENCODERS[saved["encoder"]].takes_imports:
        return dict(model)
    sizes = ModelConfig.from_dict(saved)
    return {**model, **{key: getattr(sizes, key) for key in ENCODER_KEYS}}


def _checkpoints(folder: str) -> CheckpointFolder:
    return CheckpointFolder(Path(folder) / "checkpoints")


def check_start(init_from: str | None, output_folder: str) -> None:
    """Refuse an ``init_from`` that a run cannot start from.

    A run that is under way does not look there again.
    """
    if init_from is None:
        return
    if Path(init_from).resolve() == Path(output_folder).resolve():
        raise UserError(
            f"{init_from}: is both init_from and output_folder; give another "
            "output_folder"
        )
    if not (
        _checkpoints(output_folder).metadata()
        or _checkpoints(init_from).metadata()
    ):
        raise _no_start(init_from)


def _no_start(folder: str) -> UserError:
    path = Path(folder)
    if path.is_file() or (path / "config.json").is_file():
        remedy = (
            "import it first: nar-asr import-encoder "
            f"{folder} --output FOLDER, and give that FOLDER"
        )
    else:
        remedy = "run pre-training first or set init_from to null"
    return UserError(f"{folder}: holds no whole checkpoint; {remedy}")


def describe_start(folder: str) -> str:
    """Describe an ``init_from`` for a model card in a sentence."""
    metadata = _checkpoints(folder).metadata() or {}
    if metadata.get("task") == "pretrain":
        return "The encoder was pre-trained on unlabelled speech."
    if "source" in metadata:
        return f"The encoder is imported from {metadata['source']}."
    return f"It started from {Path(folder).name}."


def reinit_parts(number: int, layers: int) -> tuple[str, ...]:
    """Give the prefixes of the last encoder layers' parameters."""
    last = range(layers - number, layers)
    return tuple(f"encoder.layers.layers.{layer}." for layer in last)


def load_pretrained(
    model: nn.Module,
    folder: str,
    metadata: Mapping[str, object],
    reinit: tuple[str, ...] = (),
) -> None:
    """Take over the encoder of another run, and other parts that match.

    CTC head and decoder come along where the tokenizer is the same, the
    intermediate heads where their labels are the same too. A pre-training
    that goes on, on other audio, takes all where its targets are the same. The
    last layers of a pre-trained encoder know its targets best and learn others
    slowest; from random weights they may learn sooner (Pasad et al.,
    https://arxiv.org/abs/2107.04734).
    """
    checkpoint = _checkpoints(folder).newest()
    if checkpoint is None:
        raise _no_start(folder)
    saved, current = checkpoint.load("model"), model.state_dict()
    _check_fit(checkpoint, saved, model)
    parts = ["encoder."]
    if "targets" in metadata:
        if _same(checkpoint.metadata, metadata, "targets"):
            others = {name.partition(".")[0] + "." for name in current}
            parts += sorted(others - {"encoder."})
    elif _same(checkpoint.metadata, metadata, "tokenizer"):
        parts += ["ctc_head.", "decoder."]
        if _same(checkpoint.metadata, metadata, "phones"):
            parts += ["inter_head.", "condition."]
    taken = [
        part
        for part in parts
        if not _misfits(saved, current, part)
        and (part != "decoder." or _same_heads(checkpoint, model))
        and any(name.startswith(part) for name in saved)
    ]
    if reinit and len(taken) > 1:
        raise UserError(
            f"{checkpoint.path}: was trained on the targets of this run, and "
            f"{' '.join(taken[1:])} would lose the layers below; set "
            "reinit_layers to 0"
        )
    shared = {
        name: tensor
        for name, tensor in saved.items()
        if name.startswith(tuple(taken)) and not name.startswith(reinit)
    }
    model.load_state_dict({**current, **shared})
    logger.info("taken from %s: %s", checkpoint.path, " ".join(taken))
    if reinit:
        logger.info("from random weights: the last %d layers", len(reinit))
    if "source" in checkpoint.metadata:
        logger.info("imported from %s", checkpoint.metadata["source"])


def _check_fit(
    checkpoint: Checkpoint, saved: Mapping, model: nn.Module
) -> None:
    wrong = _misfits(saved, model.state_dict(), "encoder.")
    if wrong:
        raise UserError(
            f"{checkpoint.path}: its encoder has other sizes than this "
            f"model's ({len(wrong)} tensors differ, the first is {wrong[0]}); "
            "use the same model section in both YAMLs"
        )
    sizes = ModelConfig.from_dict(checkpoint.metadata["model"])
    for key in _SHAPELESS:
        wanted, found = getattr(model.config, key), getattr(sizes, key)
        if wanted != found:
            raise UserError(
                f"{checkpoint.path}: its encoder has {key} {found}, this "
                f"model {wanted}; use the same model section in both YAMLs"
            )


def _same_heads(checkpoint: Checkpoint, model: nn.Module) -> bool:
    """Compare the decoders' heads, which no tensor's shape would tell."""
    sizes = (ModelConfig.from_dict(checkpoint.metadata["model"]), model.config)
    heads = {size.decoder_heads or size.heads for size in sizes}
    return len(heads) == 1


def _same(saved: Mapping, current: Mapping, name: str) -> bool:
    return saved.get(name) == current.get(name)


def _misfits(saved: Mapping, current: Mapping, part: str) -> list[str]:
    """Name the tensors of a part that only one has, or in another shape."""
    names = sorted(
        k for k in saved.keys() | current.keys() if k.startswith(part)
    )
    return [
        name
        for name in names
        if name not in saved
        or name not in current
        or saved[name].shape != current[name].shape
    ]


def without_idle_keys(config: RunConfig) -> RunConfig:
    """Reset, and log, options for a pre-trained encoder where there is none."""
    steps = config.optim.freeze_encoder_steps
    if config.init_from is not None or not (steps or config.reinit_layers):
        return config
    logger.info(
        "freeze_encoder_steps (%d) and reinit_layers (%d) need an init_from: "
        "not used",
        steps,
        config.reinit_layers,
    )
    optim = replace(config.optim, freeze_encoder_steps=0)
    return replace(config, optim=optim, reinit_layers=0)


def freeze_parts(
    model: nn.Module, objective: Objective, config: RunConfig
) -> None:
    """Freeze the parts that ``freeze`` and ``freeze_layers`` name."""
    part, number = config.freeze, config.freeze_layers
    if part == "none" and not number:
        return
    named = f"freeze_layers: {number}" if number else f"freeze: {part}"
    frontend, layers = model.encoder.frontend, model.encoder.layers.layers
    part = "frontend" if number else part
    recognises = part == "frontend" and config.task == "finetune"
    noise = recognises or number or not frontend.stem.useful_at_init
    if noise and config.init_from is None:
        raise UserError(
            f"{named} would leave convolutions at random; set it to "
            f"{0 if number else 'none'}, or name an init_from"
        )
    if number > len(layers) - config.reinit_layers:
        raise UserError(
            f"{named}: the encoder has {len(layers)} layers, of which "
            f"reinit_layers makes {config.reinit_layers} new; freeze fewer"
        )
    frontend.freeze(part)
    model.encoder.layers.freeze(number)
    learns = any(p.requires_grad for p in frontend.stem.parameters())
    if objective.weights.get("penalty") and not learns:
        raise UserError(
            f"objective: penalty_weight does nothing with {named}; set it to 0"
        )
