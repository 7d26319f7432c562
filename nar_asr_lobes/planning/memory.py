"""Memory of a GPU under DDP, and the size of a checkpoint.

Bytes of an encoder layer's frame that wait for the backward pass, of width D
and inner width F, in bfloat16 with float32 norms and residuals:

    feed-forward, twice  norm's input 4 D, its cast 2 D, dropout D,
                         GELU's input and output 2 F each
    attention            norm's input 4 D, two casts 4 D, query 2 D, keys before
                         and after rotation, and values, 6 D, result 2 D, its
                         copy 2 D, dropout D
    convolution          norm's input 4 D, its cast 2 D, gate 4 D, gated 2 D,
                         norm's input and output 8 D, cast 2 D, dropout D
    together             58 D + 8 F

All in float32: 84 D + 16 F. On a CPU dropout and attention keep more.
"""

from __future__ import annotations

from dataclasses import dataclass

from nar_asr_lobes.planning.cost import PretrainModel

_LAYER_BYTES = {"bf16": (58, 8), "fp32": (84, 16)}
# Of a logit: itself, in float32, its log-softmax and that's gradient.
_LOGIT_BYTES = {"bf16": 14, "fp32": 12}
_FLOAT, _MOMENTS = 4, 2
RESERVED = 3e9
"""Bytes for the CUDA context, NCCL and fragments of the allocator."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of one GPU, by use."""

    weights: float
    gradients: float
    moments: float
    casts: float
    activations: float
    reserved: float = RESERVED

    @property
    def total(self) -> float:
        """All of them."""
        return sum(vars(self).values())


def layer_bytes(model: PretrainModel, precision: str = "bf16") -> int:
    """Count the bytes that a frame leaves in an encoder layer.

    Example
    -------
    >>> from nar_asr_lobes.lobes.config import ModelConfig
    >>> layer_bytes(PretrainModel(ModelConfig.tiny(), 4, 1024, 0.3))
    2368
    """
    width, inner = _LAYER_BYTES[precision]
    return width * model.config.d_model + inner * model.config.ffn_dim


def memory_use(
    model: PretrainModel, batch_seconds: float, precision: str
) -> MemoryUse:
    """Estimate the memory of a GPU.

    Arguments
    ---------
    model : PretrainModel
        Its sizes.
    batch_seconds : float
        Padded seconds of a micro-batch.
    precision : str
        bf16 or fp32.

    Returns
    -------
    MemoryUse
        Gradients lie in DDP's buckets, and in bfloat16 the cast weights are
        kept until the backward pass. Features of the stem are left out: less
        than one layer's.
    """
    frames = model.frames(batch_seconds)
    logits = model.codebooks * model.codes * model.predicted
    layers = layer_bytes(model, precision) * model.config.encoder_layers
    return MemoryUse(
        weights=_FLOAT * model.parameters,
        gradients=_FLOAT * model.trained,
        moments=_FLOAT * _MOMENTS * model.trained,
        casts=2 * model.trained if precision == "bf16" else 0,
        activations=frames * (layers + _LOGIT_BYTES[precision] * logits),
    )


def checkpoint_bytes(model: PretrainModel) -> float:
    """Count the bytes of weights and moments, as float32."""
    return _FLOAT * (model.parameters + _MOMENTS * model.trained)
