"""The sizes that come with the encoder a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nar_asr_lobes.lobes.config import ENCODER_KEYS, ModelConfig
from nar_asr_lobes.training.checkpoint import CheckpointFolder


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
