"""The sizes of a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from nar_asr_lobes.errors import UserError


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a model, plain numbers that a YAML or bundle can hold.

    Arguments
    ---------
    stem : str
        ``"gabor"`` (25 Hz) or ``"wav2vec2"`` (50 Hz).
    stem_channels : int
        Channels of the stem's convolutions.
    stem_filters : int
        Gabor filter pairs (``"gabor"`` only).
    stem_norm : str
        ``"group"`` or ``"layer"`` (``"wav2vec2"`` only).
    d_model, heads, ffn_dim : int
        Width, attention heads and feed-forward width of all layers.
    encoder_layers, decoder_layers : int
        Depths.
    conv_kernel : int
        Frames of each encoder layer's convolutional position, odd.
    inter_ctc_layers : list of int
        Encoder layers (1-based) after which the CTC head is read too.
    inter_units : int
        Outputs of the head that reads them, where they are other units than
        the tokenizer's; 0 for the CTC head itself. An objective sets it.
    self_condition : bool
        Whether those readings are fed back into the encoder.
    dropout : float
        Dropout everywhere.

    Example
    -------
    >>> ModelConfig.from_dict({"d_model": 64, "heads": 2}).d_model
    64
    >>> ModelConfig.from_dict({"d_modle": 64})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: model: unknown key d_modle; known keys \
are stem, stem_channels, stem_filters, stem_norm, d_model, heads, ffn_dim, \
encoder_layers, decoder_layers, conv_kernel, inter_ctc_layers, \
inter_units, self_condition, dropout
    """

    stem: str = "gabor"
    stem_channels: int = 192
    stem_filters: int = 80
    stem_norm: str = "group"
    d_model: int = 192
    heads: int = 4
    ffn_dim: int = 768
    encoder_layers: int = 6
    decoder_layers: int = 2
    conv_kernel: int = 15
    inter_ctc_layers: list[int] = field(default_factory=list)
    inter_units: int = 0
    self_condition: bool = False
    dropout: float = 0.1

    def __post_init__(self):
        """Refuse sizes that do not fit together."""
        layers = self.encoder_layers
        rules = {
            f"stem is {self.stem!r}; choose gabor or wav2vec2": (
                self.stem in ("gabor", "wav2vec2")
            ),
            f"stem_norm is {self.stem_norm!r}; choose group or layer": (
                self.stem_norm in ("group", "layer")
            ),
            f"d_model {self.d_model} does not split into {self.heads} even "
            f"heads; make it a multiple of {2 * self.heads}": (
                self.d_model % (2 * self.heads) == 0
            ),
            f"conv_kernel is {self.conv_kernel}; make it odd": (
                self.conv_kernel % 2 == 1
            ),
            f"inter_ctc_layers is {self.inter_ctc_layers}; the encoder has "
            f"{layers} layers, choose from 1 to {layers - 1}": all(
                0 < layer < layers for layer in self.inter_ctc_layers
            ),
            f"inter_ctc_layers is {self.inter_ctc_layers}; name each once": (
                len(set(self.inter_ctc_layers)) == len(self.inter_ctc_layers)
            ),
            "self_condition is on without inter_ctc_layers; name some": (
                bool(self.inter_ctc_layers) or not self.self_condition
            ),
        }
        for message, kept in rules.items():
            if not kept:
                raise UserError(f"model: {message}")

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """Make a configuration; refuse keys it does not know."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise UserError(
                    f"model: unknown key {key}; known keys are "
                    + ", ".join(known)
                )
        return cls(**values)

    @classmethod
    def tiny(cls) -> ModelConfig:
        """Give a model of about 60 k parameters, for tests."""
        return cls(
            stem_channels=24,
            stem_filters=20,
            d_model=32,
            heads=2,
            ffn_dim=64,
            encoder_layers=2,
            decoder_layers=1,
            conv_kernel=5,
            inter_ctc_layers=[1],
            dropout=0.0,
        )

    def to_dict(self) -> dict:
        """Give the sizes as a plain dictionary."""
        return asdict(self)
