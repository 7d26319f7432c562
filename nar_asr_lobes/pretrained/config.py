"""From the config.json of a published encoder to the sizes of ours.

config.json, preprocessor_config.json -> PublishedConfig
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.stems import SAMPLE_RATE, Wav2Vec2Stem

MODEL_TYPES = ("wav2vec2", "hubert", "wavlm")
CONFIG = "config.json"
_KERNELS = [kernel for kernel, _ in Wav2Vec2Stem.layout]
_STRIDES = [stride for _, stride in Wav2Vec2Stem.layout]
# What the encoder computes with; a key that is absent has this default.
_FIXED = {
    "conv_kernel": _KERNELS,
    "conv_stride": _STRIDES,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
}
_NEEDED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)
_DEFAULTS = {
    "conv_dim": [512] * len(_KERNELS),
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 320,
    "max_bucket_distance": 800,
}


@dataclass(frozen=True)
class PublishedConfig:
    """What the files beside the weights say.

    ``model`` are the sizes; ``audio`` says what the waveforms are like and
    where that is from.
    """

    model_type: str
    model: ModelConfig
    audio: str


def read_published_config(
    folder: Path, normalize: bool | None = None
) -> PublishedConfig:
    """Read the sizes of a wav2vec 2.0, HuBERT or WavLM of transformers.

    Arguments
    ---------
    folder : Path
        Holds ``config.json``, and ``preprocessor_config.json`` as a rule.
    normalize : bool, optional
        Whether waveforms are normalised, whatever the latter says.

    Returns
    -------
    PublishedConfig

    Raises
    ------
    UserError
        For a file that cannot be read, another kind of model, and a value
        that our encoder cannot compute with.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no {CONFIG}; name a folder with a model in the "
            "format of transformers"
        )
    values = _read_json(path)
    kind = values.get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(
            f"{path}: model_type is {kind!r}; only "
            f"{', '.join(MODEL_TYPES)} can be imported"
        )
    for key, wanted in _FIXED.items():
        if values.get(key, wanted) != wanted:
            raise UserError(
                f"{path}: {key} is {values[key]!r}, but this encoder knows "
                f"{wanted!r} only; import another model"
            )
    normalized, audio = _read_audio(folder, normalize)
    try:
        model = ModelConfig(**_sizes(values, kind), normalize_audio=normalized)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return PublishedConfig(kind, model, audio)


def _sizes(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Translate the keys."""
    for key in _NEEDED:
        if key not in values:
            raise UserError(f"{key} is missing; download the file again")
    got = {key: values[key] for key in _NEEDED}
    for key, default in _DEFAULTS.items():
        got[key] = values.get(key, default)
        if type(got[key]) is not type(default):
            raise UserError(f"{key} is {got[key]!r}; download the file again")
    for key, value in got.items():
        number = key in _NEEDED or type(value) is int
        if number and not (type(value) is int and value > 0):
            raise UserError(f"{key} is {value!r}, no number above 0")
    width, *others = got["conv_dim"] or [None]
    even = others == [width] * (len(_KERNELS) - 1)
    if type(width) is not int or width < 1 or not even:
        raise UserError(
            f"conv_dim is {got['conv_dim']}, but this stem knows "
            f"{len(_KERNELS)} layers of equal width only"
        )
    if got["feat_extract_norm"] not in ("group", "layer"):
        raise UserError(
            f"feat_extract_norm is {got['feat_extract_norm']!r}, but this "
            "stem knows 'group' and 'layer' only"
        )
    return {
        "stem": "wav2vec2",
        "stem_channels": width,
        "stem_norm": got["feat_extract_norm"],
        "stem_bias": got["conv_bias"],
        "frame_norm": got["feat_proj_layer_norm"],
        "encoder": "wav2vec2",
        "encoder_layers": got["num_hidden_layers"],
        "d_model": got["hidden_size"],
        "heads": got["num_attention_heads"],
        "ffn_dim": got["intermediate_size"],
        "norm_first": got["do_stable_layer_norm"],
        "conv_kernel": got["num_conv_pos_embeddings"],
        "conv_groups": got["num_conv_pos_embedding_groups"],
        "position_buckets": got["num_buckets"] if kind == "wavlm" else 0,
        "position_distance": got["max_bucket_distance"],
    }


def _read_audio(folder: Path, normalize: bool | None) -> tuple[bool, str]:
    """Tell whether waveforms are normalised, and say where that is from."""
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
            f"{path}: sampling_rate is {rate!r}, but this stem knows "
            f"{SAMPLE_RATE} only; import another model"
        )
    found = values.get("do_normalize", True)
    if not isinstance(found, bool):
        raise UserError(f"{path}: do_normalize is {found!r}; correct it")
    if normalize is not None:
        found, origin = normalize, "as you say"
    state = "normalised" if found else "as it is"
    return found, f"{state} ({origin})"


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
