"""From the tensors of a published encoder to those of ours, each accounted for.

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

# What may stand beside the encoder where names have no prefix, and the vector
# that replaces masked frames: here such features become zero instead.
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
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_POSITION = "encoder.pos_conv_embed.conv"
_NORMED = (  # magnitude and direction, as torch named them before and since
    (f"{_POSITION}.weight_g", f"{_POSITION}.weight_v"),
    tuple(f"{_POSITION}.parametrizations.weight.original{i}" for i in range(2)),
)
_CONV = r"feature_extractor.conv_layers.\1"
_IN_LAYERS = {  # ours, theirs
    "attention.gate.scale": "attention.gru_rel_pos_const",
    "attention.gate.projection": "attention.gru_rel_pos_linear",
    "attention.query_key_value": "attention.?_proj",
    "attention.output": "attention.out_proj",
    "attention_norm": "layer_norm",
    "ffn.0": "feed_forward.intermediate_dense",
    "ffn.2": "feed_forward.output_dense",
    "ffn_norm": "final_layer_norm",
}
_NAMES = (  # a pattern of ours, theirs
    (r"frontend\.stem\.convs\.(\d+)", f"{_CONV}.conv"),
    (r"frontend\.stem\.layer_norms\.(\d+)", f"{_CONV}.layer_norm"),
    (r"frontend\.stem\.first_norm", _CONV.replace(r"\1", "0") + ".layer_norm"),
    (r"frontend\.norm", "feature_projection.layer_norm"),
    (r"frontend\.projection", "feature_projection.projection"),
    (r"layers\.position\.conv", _POSITION),
    (r"layers\.norm", "encoder.layer_norm"),
    (r"layers\.bias\.table", "encoder.layers.0.attention.rel_attn_embed"),
    *(
        (
            r"layers\.layers\.(\d+)\." + re.escape(ours),
            rf"encoder.layers.\1.{theirs}",
        )
        for ours, theirs in _IN_LAYERS.items()
    ),
)


def read_tensors(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Read the weights of a model of transformers; no code is run.

    Arguments
    ---------
    folder : Path
        Holds ``model.safetensors`` or ``pytorch_model.bin``, or one of them
        in parts with its ``.index.json``.

    Returns
    -------
    path : Path
        The file, or the index.
    tensors : dict
        By their names there.

    Raises
    ------
    UserError
        When there is none, a part is missing, or a file is damaged.
    """
    for name in _WEIGHTS:
        for path in (folder / name, folder / f"{name}.index.json"):
            if path.is_file():
                parts = [path] if path.name == name else _parts(path)
                tensors: dict[str, torch.Tensor] = {}
                for part in parts:
                    tensors.update(_read_file(part))
                return path, tensors
    raise UserError(
        f"{folder}: holds neither {_WEIGHTS[0]} nor {_WEIGHTS[1]}; save the "
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
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not all(
            isinstance(key, str) and torch.is_tensor(value)
            for key, value in found.items()
        ):
            raise ValueError("something else than tensors")
        return dict(found)
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
    """Give the state of a ``SpeechEncoder`` from a published model's tensors.

    Arguments
    ---------
    tensors : mapping
        By their published names.
    config : ModelConfig
        The encoder's sizes.
    model_type : str
        ``wav2vec2``, ``hubert`` or ``wavlm``: the prefix in models with heads.
    where : str
        The file, for messages.

    Returns
    -------
    state : dict
        All tensors of the encoder, float32.
    dropped : list of str
        First names of what is no part of it.

    Raises
    ------
    UserError
        When a tensor is missing, unknown, of another shape or of a type that
        is no float.
    """
    kept, dropped = _without_heads(tensors, model_type)
    kept = _fold_weight_norm(kept, where)
    with torch.device("meta"):  # shapes only
        wanted = SpeechEncoder(config).state_dict()
    sources = {name: _source_names(name) for name in wanted}
    used = {source for names in sources.values() for source in names}
    for fault, names in (
        ("lacks", used - kept.keys()),
        ("holds what this encoder does not know:", kept.keys() - used),
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
    """Strip the prefix of models with heads, and leave the heads out.

    Beside that prefix all is head, even a ``feature_extractor``: x-vectors'.
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
    """Replace magnitude and direction by the weight that they stand for."""
    for magnitude, direction in _NORMED:
        if magnitude in tensors and direction in tensors:
            rest = dict(tensors)
            size, weight = rest.pop(magnitude), rest.pop(direction)
            kernel = weight.shape[-1] if weight.ndim else 0
            _check_tensor(magnitude, size, [1, 1, kernel], where)
            weight = weight.float()
            norm = weight.norm(dim=(0, 1), keepdim=True)
            rest[f"{_POSITION}.weight"] = weight * (size.float() / norm)
            return rest
    return tensors


def _source_names(name: str) -> list[str]:
    """Name the published tensors that make one of ours."""
    for pattern, theirs in _NAMES:
        if re.match(rf"{pattern}(\.|$)", name):
            theirs = re.sub(f"^{pattern}", theirs, name)
            kinds = "qkv" if "?" in theirs else "?"
            return [theirs.replace("?", kind) for kind in kinds]
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
    """Name the first ten and count the rest."""
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
