"""The sizes of a model, and the parts that it can choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.encoder import ConformerEncoder
from nar_asr_lobes.lobes.stems import GaborStem, Wav2Vec2Stem
from nar_asr_lobes.lobes.wav2vec2_encoder import Wav2Vec2Encoder
from nar_asr_lobes.schema import Checked, count, number, one_of, parse

STEMS = {"gabor": GaborStem, "wav2vec2": Wav2Vec2Stem}
ENCODERS = {"conformer": ConformerEncoder, "wav2vec2": Wav2Vec2Encoder}


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The sizes of a model, plain numbers that a YAML or bundle can hold.

    Arguments
    ---------
    stem : str
        Feature extractor: ``"gabor"`` (25 Hz) or ``"wav2vec2"`` (50 Hz).
    stem_channels : int
        Channels of the stem's convolutions.
    stem_filters : int
        Gabor filter pairs (``"gabor"`` only).
    stem_norm : str
        ``"group"`` or ``"layer"`` (``"wav2vec2"`` only).
    d_model, heads, ffn_dim : int
        Width of all layers; attention heads and feed-forward width of the
        encoder, whose layers have two, and by default of the decoder.
    encoder_layers, decoder_layers : int
        Depths; 0 decoder layers for a model without decoder.
    conv_kernel : int
        Frames of the convolution in each encoder layer, odd; with
        the encoder ``"wav2vec2"``, of the one before all layers.
    inter_ctc_layers : list of int
        Encoder layers (1-based) with intermediate CTC.
    inter_vocab_size : int
        Outputs of a head of its own for them; 0 to share the CTC head. Set by
        the objective.
    self_condition : bool
        Whether intermediate predictions are fed back into the encoder.
    dropout : float
        Dropout everywhere.
    encoder : str
        ``"conformer"`` (``ConformerEncoder``) or ``"wav2vec2"``
        (``Wav2Vec2Encoder``, for ``nar-asr import-encoder``).
    stem_bias : bool
        Whether the stem's convolutions have a bias (``stem: wav2vec2`` only).
    frame_norm : bool
        Whether the stem's features are normalised before their projection.
    normalize_audio : bool
        Whether waveforms get zero mean and unit variance.
    norm_first : bool
        Pre-norm or post-norm layers (this and the next four:
        ``encoder: wav2vec2`` only).
    conv_groups : int
        Groups of the convolutional position.
    position_layers : int
        Convolutions of data2vec's position, each with a norm; 0 for the one
        of wav2vec 2.0, which has none.
    position_buckets, position_distance : int
        WavLM's relative positions; 0 buckets for none.
    decoder_heads, decoder_ffn_dim : int
        Sizes of the decoder's layers; 0 for those of the encoder.

    Example
    -------
    >>> ModelConfig.from_dict({"d_model": 64, "heads": 2}).d_model
    64
    >>> ModelConfig.from_dict({"d_model": 65, "heads": 2})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: model: d_model 65 does not split into 2 \
even heads; make it a multiple of 4
    """

    stem: str = one_of(STEMS, "gabor")
    stem_channels: int = count(192, least=1)
    stem_filters: int = count(80, least=1)
    stem_norm: str = "group"
    d_model: int = count(192, least=1)
    heads: int = count(4, least=1)
    ffn_dim: int = count(768, least=1)
    encoder_layers: int = count(6, least=1)
    decoder_layers: int = count(2)
    conv_kernel: int = count(15, least=1)
    inter_ctc_layers: list[int] = field(default_factory=list)
    inter_vocab_size: int = count(0)
    self_condition: bool = False
    dropout: float = number(0.1, least=0, below=1)
    encoder: str = one_of(ENCODERS, "conformer")
    stem_bias: bool = False
    frame_norm: bool = True
    normalize_audio: bool = True
    norm_first: bool = True
    conv_groups: int = count(16, least=1)
    position_layers: int = count(0)
    position_buckets: int = count(0)
    position_distance: int = count(800, least=1)
    decoder_heads: int = count(0)
    decoder_ffn_dim: int = count(0)

    def __post_init__(self):
        """Refuse sizes that do not fit together."""
        try:
            super().__post_init__()
            for fault in self._faults():
                raise UserError(fault)
            STEMS[self.stem].check_config(self)
            ENCODERS[self.encoder].check_config(self)
        except UserError as error:
            raise UserError(f"model: {error}") from error

    def _faults(self) -> Iterator[str]:
        own_keys = ENCODERS[self.encoder].config_keys
        for name, encoder in ENCODERS.items():
            foreign = [
                key
                for key in encoder.config_keys
                if key not in own_keys
                and getattr(self, key) != getattr(ModelConfig, key)
            ]
            if foreign:
                yield (
                    f"{', '.join(foreign)}: of encoder: {name} only; leave out"
                )
        if self.decoder_heads and self.d_model % (2 * self.decoder_heads):
            yield (
                f"d_model {self.d_model} does not split into "
                f"{self.decoder_heads} even decoder_heads"
            )
        inter, layers = self.inter_ctc_layers, self.encoder_layers
        if not all(0 < layer < layers for layer in inter):
            yield (
                f"inter_ctc_layers is {inter}; the encoder has {layers} "
                f"layers, choose from 1 to {layers - 1}"
            )
        if len(set(inter)) < len(inter):
            yield f"inter_ctc_layers is {inter}; name each once"
        if self.self_condition and not inter:
            yield "self_condition is on without inter_ctc_layers; name some"

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
        """Make a configuration; refuse unknown keys."""
        return parse(cls, values, "model")

    @classmethod
    def tiny(cls) -> ModelConfig:
        """Return a model of about 60 k parameters, for tests."""
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
        """Return the sizes as a plain dictionary."""
        return asdict(self)


_NOT_ENCODER = {
    "decoder_layers",
    "inter_ctc_layers",
    "inter_vocab_size",
    "self_condition",
    "dropout",
    "decoder_heads",
    "decoder_ffn_dim",
}
ENCODER_KEYS = tuple(
    f.name for f in fields(ModelConfig) if f.name not in _NOT_ENCODER
)
"""Keys that describe the encoder, which published weights determine."""
