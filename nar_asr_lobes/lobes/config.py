"""The sizes of a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import Checked, count, number, parse

# Of these a checkpoint and a bundle hold only what is not at its default, so
# that programs older than they are read the others.
_YOUNG = (
    "encoder",
    "stem_bias",
    "frame_norm",
    "normalize_audio",
    "norm_first",
    "conv_groups",
    "position_buckets",
    "position_distance",
    "decoder_heads",
    "decoder_ffn_dim",
)
_WAV2VEC2_ONLY = (
    "norm_first",
    "conv_groups",
    "position_buckets",
    "position_distance",
)
ENCODER_KEYS = (
    "stem",
    "stem_channels",
    "stem_filters",
    "stem_norm",
    "d_model",
    "heads",
    "ffn_dim",
    "encoder_layers",
    "conv_kernel",
    *_YOUNG[:8],
)


@dataclass(frozen=True)
class ModelConfig(Checked):
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
        Width of all layers; attention heads and feed-forward width of the
        encoder's, and of the decoder's where it has no others.
    encoder_layers, decoder_layers : int
        Depths.
    conv_kernel : int
        Frames of each encoder layer's convolutional position, odd; with the
        encoder ``"wav2vec2"`` of the one before all layers, odd or even.
    inter_ctc_layers : list of int
        Encoder layers (1-based) after which the CTC head is read too.
    inter_units : int
        Outputs of the head that reads them, where they are other units than
        the tokenizer's; 0 for the CTC head itself. An objective sets it.
    self_condition : bool
        Whether those readings are fed back into the encoder.
    dropout : float
        Dropout everywhere.
    encoder : str
        ``"rotary"`` (``TransformerEncoder``) or ``"wav2vec2"``
        (``Wav2Vec2Encoder``), which ``nar-asr import-encoder`` fills.
    stem_bias : bool
        Whether the stem's convolutions have a bias (``stem: wav2vec2`` only).
    frame_norm : bool
        Whether the stem's features are normalised before their projection.
    normalize_audio : bool
        Whether waveforms get zero mean and unit variance.
    norm_first : bool
        Pre-norm or post-norm layers (this and those below:
        ``encoder: wav2vec2`` only).
    conv_groups : int
        Groups of the convolutional position.
    position_buckets, position_distance : int
        Of WavLM's relative positions; 0 buckets for none.
    decoder_heads, decoder_ffn_dim : int
        Of the decoder's layers; 0 for those of the encoder.

    Example
    -------
    >>> ModelConfig.from_dict({"d_model": 64, "heads": 2}).d_model
    64
    >>> ModelConfig.from_dict({"d_modle": 64})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: model: unknown key 'd_modle'; did \
you mean 'd_model'?
    """

    stem: str = "gabor"
    stem_channels: int = count(192, least=1)
    stem_filters: int = count(80, least=1)
    stem_norm: str = "group"
    d_model: int = count(192, least=1)
    heads: int = count(4, least=1)
    ffn_dim: int = count(768, least=1)
    encoder_layers: int = count(6, least=1)
    decoder_layers: int = count(2, least=1)
    conv_kernel: int = count(15, least=1)
    inter_ctc_layers: list[int] = field(default_factory=list)
    inter_units: int = count(0)
    self_condition: bool = False
    dropout: float = number(0.1, least=0, below=1)
    encoder: str = "rotary"
    stem_bias: bool = False
    frame_norm: bool = True
    normalize_audio: bool = True
    norm_first: bool = True
    conv_groups: int = count(16, least=1)
    position_buckets: int = count(0)
    position_distance: int = count(800, least=1)
    decoder_heads: int = count(0)
    decoder_ffn_dim: int = count(0)

    def __post_init__(self):
        """Refuse sizes that do not fit together."""
        super().__post_init__()
        layers = self.encoder_layers
        rules = {
            **self._encoder_rules(),
            f"stem is {self.stem!r}; choose gabor or wav2vec2": (
                self.stem in ("gabor", "wav2vec2")
            ),
            f"stem_norm is {self.stem_norm!r}; choose group or layer": (
                self.stem_norm in ("group", "layer")
            ),
            f"d_model {self.d_model} does not split into "
            f"{self.decoder_heads} even decoder_heads": (
                self.decoder_heads == 0
                or self.d_model % (2 * self.decoder_heads) == 0
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

    def _encoder_rules(self) -> dict[str, bool]:
        """Give what each kind of encoder needs."""
        foreign = [
            name
            for name in _WAV2VEC2_ONLY
            if self.encoder == "rotary" and not self._is_default(name)
        ]
        buckets, distance = self.position_buckets, self.position_distance
        # rotary positions turn pairs; the other encoder has none
        even, multiple = "even ", 2 * self.heads
        if self.encoder == "wav2vec2":
            even, multiple = "", self.heads
        return {
            f"d_model {self.d_model} does not split into {self.heads} {even}"
            f"heads; make it a multiple of {multiple}": (
                self.d_model % multiple == 0
            ),
            f"encoder is {self.encoder!r}; choose rotary or wav2vec2": (
                self.encoder in ("rotary", "wav2vec2")
            ),
            f"{', '.join(foreign)}: of encoder: wav2vec2 only; leave out": (
                not foreign
            ),
            f"conv_kernel is {self.conv_kernel}; make it odd": (
                self.conv_kernel % 2 == 1 or self.encoder == "wav2vec2"
            ),
            f"conv_groups {self.conv_groups} do not divide d_model "
            f"{self.d_model}": (
                self.encoder == "rotary" or self.d_model % self.conv_groups == 0
            ),
            f"position_buckets is {buckets} and position_distance "
            f"{distance}; give no buckets, or 4 at least and a distance of "
            "more than a quarter of them": (
                buckets == 0 or (buckets >= 4 and distance > buckets // 4)
            ),
        }

    def _is_default(self, name: str) -> bool:
        return getattr(self, name) == getattr(ModelConfig, name)

    @property
    def decoder_heads_used(self) -> int:
        """Attention heads of the decoder's layers, which are rotary."""
        heads = self.decoder_heads or self.heads
        if self.d_model % (2 * heads):
            raise UserError(
                f"model: d_model {self.d_model} does not split into {heads} "
                "even heads, so the decoder cannot have as many as the "
                "encoder; set model.decoder_heads"
            )
        return heads

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """Make a configuration; refuse keys it does not know."""
        return parse(cls, values, "model")

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
        """Give the sizes as a plain dictionary, young ones if they count."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _YOUNG or not self._is_default(name)
        }
