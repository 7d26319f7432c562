"""From the tensors of a published encoder to those of ours, all accounted for.

model.safetensors | its index and shards | pytorch_model.bin -> {name: tensor}
    -> without heads, weight norm folded -> the state of a ``SpeechEncoder``
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import SpeechEncoder

# Parts beside the encoder, where names have no prefix; the last one is the
# vector that replaces masked frames, for which we have zeros.
_HEADS = (
    "lm_head",
    "quantizer",
    "project_q",
    "project_hid",
    "projector",
    "classifier",
    "layer_weights",
    "masked_spec_embed",
)
_FILES = ("model.safetensors", "pytorch_model.bin")
_POSITION = "encoder.pos_conv_embed.conv"
_WEIGHT_NORM = (  # magnitude and direction, in torch's old and new names
    (f"{_POSITION}.weight_g", f"{_POSITION}.weight_v"),
    tuple(f"{_POSITION}.parametrizations.weight.original{i}" for i in range(2)),
)
_CONV = r"feature_extractor.conv_layers.\1"
_LAYER = r"encoder.layers.\1."
_NAMES = {  # a pattern of ours: the published name; ? stands for q, k and v
    r"frontend\.stem\.convs\.(\d+)": f"{_CONV}.conv",
    r"frontend\.stem\.layer_norms\.(\d+)": f"{_CONV}.layer_norm",
    r"frontend\.stem\.first_norm": _CONV.replace(r"\1", "0") + ".layer_norm",
    r"frontend\.norm": "feature_projection.layer_norm",
    r"frontend\.projection": "feature_projection.projection",
    r"layers\.position\.conv": _POSITION,
    r"layers\.norm": "encoder.layer_norm",
    r"layers\.bias\.table": "encoder.layers.0.attention.rel_attn_embed",
} | {
    rf"layers\.layers\.(\d+)\.{re.escape(ours)}": _LAYER + published
    for ours, published in (
        ("attention.gate.scale", "attention.gru_rel_pos_const"),
        ("attention.gate.projection", "attention.gru_rel_pos_linear"),
        ("attention.query_key_value", "attention.?_proj"),
        ("attention.output", "attention.out_proj"),
        ("attention_norm", "layer_norm"),
        ("ffn.0", "feed_forward.intermediate_dense"),
        ("ffn.2", "feed_forward.output_dense"),
        ("ffn_norm", "final_layer_norm"),
    )
}


def read_tensors(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Read the weights of a model of transformers, without running code.

    Returns the file, or the index of a model in parts, and the tensors by
    their names there.
    """
    for name in _FILES:
        for path in (folder / name, folder / f"{name}.index.json"):
            if path.is_file():
                parts = [path] if path.name == name else _parts(path)
                tensors: dict[str, torch.Tensor] = {}
                for part in parts:
                    tensors.update(_read_file(part))
                return path, tensors
    raise UserError(
        f"{folder}: holds neither {_FILES[0]} nor {_FILES[1]}; save the "
        "model there with save_pretrained of transformers"
    )


def _parts(index: Path) -> list[Path]:
    """List the files that an index names, in its own folder."""
    try:
        files = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        names = sorted(set(files.values()))
        paths = [index.parent / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: is damaged; download it again") from error
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: is missing; download it")
    return paths


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
        if not all(
            isinstance(key, str) and torch.is_tensor(value)
            for key, value in values.items()
        ):
            raise ValueError("not only tensors")
        return dict(values)
    except (
        safetensors.SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        AttributeError,
        KeyError,
        ValueError,
    ) as error:
        raise UserError(
            f"{path}: does not hold tensors only, or is damaged; download it "
            "again, as safetensors where there is a choice"
        ) from error


def encoder_state(
    tensors: Mapping[str, torch.Tensor],
    config: ModelConfig,
    model_type: str,
    where: str,
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Convert published tensors to the state of a ``SpeechEncoder``, float32.

    Also returns the first names of the dropped parts. Raises UserError, naming
    the file ``where``, for missing, unknown and misshapen tensors.
    """
    kept, dropped = _without_heads(tensors, model_type)
    kept = _fold_weight_norm(kept, where)
    with torch.device("meta"):  # shapes only
        wanted = SpeechEncoder(config).state_dict()
    sources = {name: _source_names(name) for name in wanted}
    used = {source for names in sources.values() for source in names}
    for fault, names in (
        ("lacks", used - kept.keys()),
        ("holds tensors unknown to this encoder:", kept.keys() - used),
    ):
        if names:
            raise UserError(
                f"{where}: {fault} {_listed(names)}; take a whole model and "
                "the config.json that belongs to it"
            )
    state = {}
    for name, names in sources.items():
        shape = list(wanted[name].shape)
        shape[0] //= len(names)
        for source in names:
            _check_tensor(source, kept[source], shape, where)
        state[name] = torch.cat([kept[source].float() for source in names])
    return state, dropped


def _without_heads(
    tensors: Mapping[str, torch.Tensor], model_type: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Drop the heads, and the prefix that models with heads have.

    Where there is a prefix, names without it belong to heads: x-vector models
    have a second ``feature_extractor``.
    """
    prefix = f"{model_type}."
    prefixed = any(name.startswith(prefix) for name in tensors)
    kept, dropped = {}, set()
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        first = short.partition(".")[0]
        if first in _HEADS or (prefixed and short == name):
            dropped.add(first)
        else:
            kept[short] = tensor
    return kept, sorted(dropped)


def _fold_weight_norm(
    tensors: dict[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    """Multiply magnitude and direction into a weight."""
    for magnitude, direction in _WEIGHT_NORM:
        if magnitude in tensors and direction in tensors:
            tensors = dict(tensors)
            size, weight = tensors.pop(magnitude), tensors.pop(direction)
            kernel = weight.shape[-1] if weight.ndim else 0
            _check_tensor(magnitude, size, [1, 1, kernel], where)
            weight = weight.float()
            norm = weight.norm(dim=(0, 1), keepdim=True)
            tensors[f"{_POSITION}.weight"] = weight * (size.float() / norm)
    return tensors


def _source_names(name: str) -> list[str]:
    """Return the published names of the tensors that make one of ours."""
    for pattern, published in _NAMES.items():
        if re.match(rf"{pattern}(\.|$)", name):
            published = re.sub(f"^{pattern}", published, name)
            kinds = "qkv" if "?" in published else "?"
            return [published.replace("?", kind) for kind in kinds]
    raise ValueError(f"no published name for {name}")


def _check_tensor(
    name: str, tensor: torch.Tensor, shape: list[int], where: str
) -> None:
    if list(tensor.shape) != shape or not tensor.is_floating_point():
        found = f"{list(tensor.shape)} of {tensor.dtype}"
        raise UserError(
            f"{where}: {name} is {found}, but config.json asks for {shape} of "
            "floats; take both files from one model"
        )


def _listed(names: Iterable[str]) -> str:
    """Join the first ten names and count the rest."""
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
