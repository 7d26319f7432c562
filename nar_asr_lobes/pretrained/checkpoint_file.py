"""Encoders whose weights come as one file that does not state their sizes.

fairseq2 (wav2vec 2.0, Omnilingual-ASR), SpidR and DinoSR: {"model": {name:
tensor}} -> the sizes, from the shapes, and the tensors of the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.pretrained.names import (
    FAIRSEQ2,
    FAIRSEQ2_POST_NORM,
    SPIDR,
    Names,
    published_names,
)
from nar_asr_lobes.pretrained.weights import (
    FROM_FAIRSEQ,
    fold_weight_norm,
    read_file,
    without_heads,
)

_BASE_WIDTH, _BASE_HEADS, _HEADS = 768, 12, 16


@dataclass(frozen=True)
class CheckpointFile:
    """The kind, sizes and tensors of an encoder, and what was left out."""

    kind: str
    model: ModelConfig
    table: Names
    tensors: dict[str, torch.Tensor]
    dropped: list[str]


def read_checkpoint(path: Path, normalize: bool) -> CheckpointFile:
    """Read the encoder of a file; ``normalize`` is a key of its sizes."""
    tensors, dropped = without_heads(read_file(path), "module.")  # of DDP
    kind, table, norm_first = _recognise(tensors, path)
    if kind == "spidr":
        tensors = _with_biases(tensors)
    tensors = fold_weight_norm(tensors, table, str(path))
    try:
        model = ModelConfig(
            **_sizes({k: list(v.shape) for k, v in tensors.items()}, table),
            norm_first=norm_first,
            normalize_audio=normalize,
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return CheckpointFile(kind, model, table, tensors, dropped)


def _recognise(
    tensors: Mapping[str, torch.Tensor], path: Path
) -> tuple[str, Names, bool]:
    """Give the kind, its names, and whether layers are pre-norm."""
    if "encoder_frontend.post_extract_layer_norm.weight" in tensors:
        if "encoder_frontend.layer_norm.weight" in tensors:
            return "fairseq2", FAIRSEQ2_POST_NORM, False
        return "fairseq2", FAIRSEQ2, True
    if "student.layer_norm.weight" in tensors:
        return "spidr", SPIDR, False
    raise UserError(
        f"{path}: holds no encoder of fairseq2, SpidR or DinoSR; name the "
        f"folder of a model of transformers, or {FROM_FAIRSEQ}"
    )


def _with_biases(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add biases of zero to SpidR's queries, keys and values without any."""
    biases = {
        name.replace(".weight", ".bias"): torch.zeros(len(tensor))
        for name, tensor in tensors.items()
        if name.endswith("attention.qkv.weight")
    }
    return {**biases, **tensors}


def _sizes(shapes: Mapping[str, list[int]], table: Names) -> dict[str, object]:
    """Read the sizes from the shapes of tensors."""

    def shape(ours: str, axes: int = 0) -> list[int]:
        name = published_names(ours, table)[0]
        found = shapes.get(name, [])
        if axes and len(found) != axes:
            raise UserError(
                f"{name} is {found or 'missing'}, not of {axes} axes; download "
                "the file again"
            )
        return found

    def depth(ours: str) -> int:
        return next(i for i in count() if not shape(ours.format(i)))

    d_model, channels = shape("frontend.projection.weight", 2)
    stacked = depth("layers.position.convs.{}.weight")
    position = f"layers.position.conv{'s.0' if stacked else ''}.weight"
    _, group, kernel = shape(position, 3)
    layer_norm = shape("frontend.stem.layer_norms.1.weight")
    return {
        "stem": "wav2vec2",
        "stem_channels": channels,
        "stem_norm": "layer" if layer_norm else "group",
        "stem_bias": bool(shape("frontend.stem.convs.0.bias")),
        "encoder": "wav2vec2",
        "encoder_layers": depth("layers.layers.{}.attention_norm.weight"),
        "d_model": d_model,
        # No shape tells the heads: 12 in Base, 16 in all larger ones.
        "heads": _BASE_HEADS if d_model == _BASE_WIDTH else _HEADS,
        "ffn_dim": shape("layers.layers.0.ffn.0.weight", 2)[0],
        "conv_kernel": kernel,
        "conv_groups": d_model // max(1, group),
        "position_layers": stacked,
    }
