"""Published weights as a checkpoint that a run can start from.

SOURCE/{config.json, model.safetensors, ...} -> OUTPUT/checkpoints/step_00000000
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.pretrained.config import (
    PublishedConfig,
    read_published_config,
)
from nar_asr_lobes.pretrained.weights import encoder_state, read_tensors
from nar_asr_lobes.training.checkpoint import CheckpointFolder


@dataclass(frozen=True)
class ImportReport:
    """What was imported: where to, its sizes, and what was left out."""

    folder: Path
    published: PublishedConfig
    parameters: int
    dropped: list[str]


def import_encoder(
    source: str | os.PathLike,
    output: str | os.PathLike,
    normalize: bool | None = None,
) -> ImportReport:
    """Import the encoder of a wav2vec 2.0, HuBERT or WavLM of transformers.

    Arguments
    ---------
    source : str or path
        Folder with ``config.json`` and the weights.
    output : str or path
        Folder to make; ``init_from`` takes it.
    normalize : bool, optional
        Whether the model expects normalised waveforms; by default as its
        ``preprocessor_config.json`` says, and True without one.

    Returns
    -------
    ImportReport

    Raises
    ------
    UserError
        When the source is of a kind that cannot be imported or not whole, or
        the output is there already or cannot be written.
    """
    source, output = Path(source), Path(output)
    if output.is_file() or any(not p.is_dir() for p in output.rglob("*")):
        raise UserError(f"{output}: exists already; name another folder")
    published = read_published_config(source, normalize)
    path, tensors = read_tensors(source)
    state, dropped = encoder_state(
        tensors, published.model, published.model_type, str(path)
    )
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
