"""Published weights as a checkpoint that a run can start from.

SOURCE/{config.json, model.safetensors, ...} or SOURCE.pt
    -> OUTPUT/checkpoints/step_00000000
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.stems import SAMPLE_RATE, Wav2Vec2Stem
from nar_asr_lobes.pretrained.checkpoint_file import read_checkpoint
from nar_asr_lobes.pretrained.names import TRANSFORMERS
from nar_asr_lobes.pretrained.weights import (
    encoder_state,
    read_tensors,
    without_heads,
)
from nar_asr_lobes.training.checkpoint import CheckpointFolder

_DATA2VEC = "data2vec-audio"
_MODEL_TYPES = (
    "wav2vec2",
    "hubert",
    "wavlm",
    "unispeech",
    "unispeech-sat",
    _DATA2VEC,
)
_KERNELS, _STRIDES = map(list, zip(*Wav2Vec2Stem.layout, strict=True))
_FIXED = {  # the only values that our encoder supports, also the defaults
    "conv_kernel": _KERNELS,
    "conv_stride": _STRIDES,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
}
_INSTEAD = {"adapter_attn_dim": "facebook/mms-300m or mms-1b, without adapters"}
_SIZES = {  # published key: our key, and the default if there is one
    "hidden_size": ("d_model", None),
    "num_hidden_layers": ("encoder_layers", None),
    "num_attention_heads": ("heads", None),
    "intermediate_size": ("ffn_dim", None),
    "conv_dim": ("stem_channels", [512] * len(_KERNELS)),
    "conv_bias": ("stem_bias", False),
    "feat_extract_norm": ("stem_norm", "group"),
    "feat_proj_layer_norm": ("frame_norm", True),
    "do_stable_layer_norm": ("norm_first", False),
    "num_conv_pos_embeddings": ("conv_kernel", 128),
    "num_conv_pos_embedding_groups": ("conv_groups", 16),
    "num_buckets": ("position_buckets", 320),
    "max_bucket_distance": ("position_distance", 800),
}
# data2vec has these keys in another sense, or ignores them.
_SIZES_OF_DATA2VEC = {
    key: row
    for key, row in _SIZES.items()
    if row[0] not in ("stem_norm", "frame_norm", "norm_first", "conv_kernel")
} | {
    "conv_pos_kernel_size": ("conv_kernel", 19),
    "num_conv_pos_embeddings": ("position_layers", 5),
}
_CONSTANTS_OF_DATA2VEC = {"stem_norm": "layer", "norm_first": False}


@dataclass(frozen=True)
class _PublishedConfig:
    """Sizes of a published model, and how its waveforms are normalised."""

    model_type: str
    model: ModelConfig
    audio: str


@dataclass(frozen=True)
class ImportReport:
    """Output folder, sizes, parameters, and the names of skipped parts."""

    folder: Path
    published: _PublishedConfig
    parameters: int
    dropped: list[str]


def import_encoder(
    source: str | os.PathLike,
    output: str | os.PathLike,
    normalize: bool | None = None,
) -> ImportReport:
    """Import a published encoder of the wav2vec 2.0 kind.

    Arguments
    ---------
    source : str or path
        Folder with ``config.json`` and the weights of a model of transformers
        (wav2vec 2.0, HuBERT, WavLM, UniSpeech, data2vec-audio), or a file of
        fairseq2 (Omnilingual-ASR), SpidR or DinoSR.
    output : str or path
        Folder to create, for ``init_from``.
    normalize : bool, optional
        Whether the model expects normalised waveforms. Default: as its
        ``preprocessor_config.json`` says, and True without one or for a file.

    Returns
    -------
    ImportReport

    Raises
    ------
    UserError
        When the source is incomplete or of an unsupported kind, or the output
        exists or cannot be written.
    """
    source, output = Path(source), Path(output)
    if output.is_file() or any(not p.is_dir() for p in output.rglob("*")):
        raise UserError(f"{output}: exists already; name another folder")
    read = _read_file if source.is_file() else _read_folder
    published, state, dropped = read(source, normalize)
    metadata = {
        "task": "import",
        "model": published.model.to_dict(),
        "source": f"{published.model_type} {source.resolve().name}",
    }
    weights = {f"encoder.{name}": tensor for name, tensor in state.items()}
    CheckpointFolder(output / "checkpoints").save(
        0, {"model": weights}, metadata
    )
    parameters = sum(tensor.numel() for tensor in state.values())
    return ImportReport(output, published, parameters, dropped)


def _read_file(
    path: Path, normalize: bool | None
) -> tuple[_PublishedConfig, dict[str, torch.Tensor], list[str]]:
    """Read the sizes, the state and the names of dropped parts of a file."""
    found = read_checkpoint(path, normalize is not False)
    audio = _describe_audio(
        found.model.normalize_audio,
        "the default of such files" if normalize is None else "--normalize",
    )
    state = encoder_state(found.tensors, found.model, found.table, str(path))
    published = _PublishedConfig(found.kind, found.model, audio)
    return published, state, found.dropped


def _read_folder(
    folder: Path, normalize: bool | None
) -> tuple[_PublishedConfig, dict[str, torch.Tensor], list[str]]:
    """Read the same of a folder of transformers."""
    published = _read_published_config(folder, normalize)
    path, tensors = read_tensors(folder)
    prefix = f"{published.model_type.replace('-', '_')}."
    tensors, dropped = without_heads(tensors, prefix)
    state = encoder_state(tensors, published.model, TRANSFORMERS, str(path))
    return published, state, dropped


def _read_published_config(
    folder: Path, normalize: bool | None = None
) -> _PublishedConfig:
    """Read ``config.json`` and, if there is one, the preprocessor's."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no config.json; name a folder with a model in "
            "the format of transformers, or a .pt file"
        )
    values = _read_json(path)
    kind = values.get("model_type")
    if kind not in _MODEL_TYPES:
        raise UserError(
            f"{path}: model_type is {kind!r}; only "
            f"{', '.join(_MODEL_TYPES)} can be imported"
        )
    for key, supported in _FIXED.items():
        if values.get(key, supported) != supported:
            instead = _INSTEAD.get(key, "another model")
            raise UserError(
                f"{path}: {key} is {values[key]!r}, but this encoder supports "
                f"{supported!r} only; import {instead}"
            )
    normalized, audio = _read_audio(folder, normalize)
    try:
        model = ModelConfig(**_sizes(values, kind), normalize_audio=normalized)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return _PublishedConfig(kind, model, audio)


def _sizes(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Translate the keys."""
    sizes: dict[str, Any] = {"stem": "wav2vec2", "encoder": "wav2vec2"}
    table = _SIZES_OF_DATA2VEC if kind == _DATA2VEC else _SIZES
    for key, (ours, default) in table.items():
        value = values.get(key, default)
        if value is None:
            raise UserError(f"{key} is missing; download the file again")
        if default is None or type(default) is int:
            if type(value) is not int or value < 1:
                raise UserError(f"{key} is {value!r}, no number above 0")
        elif type(value) is not type(default):
            raise UserError(f"{key} is {value!r}; download the file again")
        sizes[ours] = value
    widths = sizes["stem_channels"]
    width = widths[0] if widths else 0
    if type(width) is not int or width < 1 or widths != [width] * len(_KERNELS):
        raise UserError(
            f"conv_dim is {widths}, but this stem supports {len(_KERNELS)} "
            "layers of equal width only"
        )
    sizes |= _CONSTANTS_OF_DATA2VEC if kind == _DATA2VEC else {}
    if sizes["stem_norm"] not in ("group", "layer"):
        raise UserError(
            f"feat_extract_norm is {sizes['stem_norm']!r}, but this stem "
            "supports 'group' and 'layer' only"
        )
    sizes["stem_channels"] = width
    if kind != "wavlm":
        sizes["position_buckets"] = 0
    return sizes


def _read_audio(folder: Path, normalize: bool | None) -> tuple[bool, str]:
    """Find whether waveforms are normalised, and describe it."""
    path, values = folder / "preprocessor_config.json", None
    if path.is_file():
        values = _read_json(path)
    elif (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"
        values = _read_json(path).get("feature_extractor")
    if not isinstance(values, Mapping):  # the default of transformers
        values, origin = {}, "no preprocessor_config.json says otherwise"
    else:
        origin = path.name
    rate = values.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(
            f"{path}: sampling_rate is {rate!r}, but this stem supports "
            f"{SAMPLE_RATE} only; import another model"
        )
    normalized = values.get("do_normalize", True)
    if not isinstance(normalized, bool):
        raise UserError(f"{path}: do_normalize is {normalized!r}; correct it")
    if normalize is not None:
        normalized, origin = normalize, "--normalize"
    return normalized, _describe_audio(normalized, origin)


def _describe_audio(normalized: bool, origin: str) -> str:
    state = "normalised" if normalized else "not normalised"
    return f"{state} ({origin})"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as JSON; download it again"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no keys; download it again")
    return values
