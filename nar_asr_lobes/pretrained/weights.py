"""From the tensors of a published encoder to those of ours, all accounted for.

model.safetensors | its index and shards | pytorch_model.bin | a .pt file
    -> {name: tensor}
    -> without heads, weight norm folded -> the state of a ``SpeechEncoder``
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import SpeechEncoder
from nar_asr_lobes.pretrained.names import HEADS, Names, published_names

_FILES = ("model.safetensors", "pytorch_model.bin")
_WEIGHT_NORM = (  # magnitude and direction, in torch's old and new names
    ("weight_g", "weight_v"),
    tuple(f"parametrizations.weight.original{i}" for i in range(2)),
)
FROM_FAIRSEQ = (
    "convert a checkpoint of fairseq with "
    "convert_wav2vec2_original_pytorch_checkpoint_to_pytorch.py of the "
    "transformers repository"
)


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
                    tensors.update(read_file(part))
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


def read_file(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file, or those of its "model", by their names.

    Raises UserError where the file holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
        values = dict(values.get("model", values))
        if not all(
            isinstance(key, str) and torch.is_tensor(value)
            for key, value in values.items()
        ):
            raise ValueError("not only tensors")
        return values
    except (
        safetensors.SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        part_of_folder = path.suffix in (".safetensors", ".bin")
        remedy = (
            "as safetensors where there is a choice"
            if part_of_folder
            else f"or {FROM_FAIRSEQ}"
        )
        raise UserError(
            f"{path}: does not hold tensors only, or is damaged; download it "
            f"again, {remedy}"
        ) from error


def encoder_state(
    tensors: Mapping[str, torch.Tensor],
    config: ModelConfig,
    table: Names,
    where: str,
) -> dict[str, torch.Tensor]:
    """Convert published tensors to the state of a ``SpeechEncoder``, float32.

    The tensors are those of ``without_heads``. Raises UserError, naming the
    file ``where``, for missing, unknown and misshapen tensors.
    """
    kept = fold_weight_norm(tensors, table, where)
    with torch.device("meta"):  # shapes only
        wanted = SpeechEncoder(config).state_dict()
    sources = {name: published_names(name, table) for name in wanted}
    used = {source for names in sources.values() for source in names}
    for fault, names in (
        ("lacks", used - kept.keys()),
        ("holds tensors unknown to this encoder:", kept.keys() - used),
    ):
        if names:
            raise UserError(
                f"{where}: {fault} {_listed(names)}; take a whole model, and "
                "no config.json but its own"
            )
    state = {}
    for name, names in sources.items():
        shape = list(wanted[name].shape)
        shape[0] //= len(names)
        for source in names:
            _check_tensor(source, kept[source], shape, where)
        state[name] = torch.cat([kept[source].float() for source in names])
    return state


def without_heads(
    tensors: Mapping[str, torch.Tensor], prefix: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Drop the heads, and the prefix that models with heads have.

    Where there is a prefix, names without it belong to heads: x-vector models
    have a second ``feature_extractor``. Also returns the first steps of the
    names of the dropped parts.
    """
    prefixed = any(name.startswith(prefix) for name in tensors)
    kept, dropped = {}, set()
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        first = short.partition(".")[0]
        if first in HEADS or (prefixed and short == name):
            dropped.add(first)
        else:
            kept[short] = tensor
    return kept, sorted(dropped)


def fold_weight_norm(
    tensors: Mapping[str, torch.Tensor], table: Names, where: str
) -> dict[str, torch.Tensor]:
    """Multiply magnitude and direction of the position into a weight."""
    tensors = dict(tensors)
    position = table["layers.position.conv"]
    for parts in _WEIGHT_NORM:
        magnitude, direction = (f"{position}.{part}" for part in parts)
        if magnitude in tensors and direction in tensors:
            size, weight = tensors.pop(magnitude), tensors.pop(direction)
            kernel = weight.shape[-1] if weight.ndim else 0
            _check_tensor(magnitude, size, [1, 1, kernel], where)
            weight = weight.float()
            norm = weight.norm(dim=(0, 1), keepdim=True)
            tensors[f"{position}.weight"] = weight * (size.float() / norm)
    return tensors


def _check_tensor(
    name: str, tensor: torch.Tensor, shape: list[int], where: str
) -> None:
    if list(tensor.shape) != shape or not tensor.is_floating_point():
        found = f"{list(tensor.shape)} of {tensor.dtype}"
        raise UserError(
            f"{where}: {name} is {found}, but the sizes of the model ask for "
            f"{shape} of floats; take all files from one model"
        )


def _listed(names: Iterable[str]) -> str:
    """Join the first ten names and count the rest."""
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
