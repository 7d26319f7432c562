from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ENCODERS, STEMS, ModelConfig
from nar_asr_lobes.lobes.model import SpeechEncoder, build_model
from nar_asr_lobes.lobes.stems import GaborStem

WAV2VEC2 = {"encoder": "wav2vec2"}


def test_a_configuration_survives_its_dictionary():
    tiny = ModelConfig.tiny()
    other = replace(tiny, stem="wav2vec2", stem_norm="layer", dropout=0.2)
    imported = replace(other, **WAV2VEC2, conv_kernel=8, norm_first=False)
    for config in (ModelConfig(), tiny, other, imported):
        assert ModelConfig.from_dict(config.to_dict()) == config
    assert tiny.to_dict() != other.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stem": "mfcc"}, "stem is 'mfcc'; choose from gabor, wav2vec2"),
        ({"stem": ["gabor"]}, r"stem is \['gabor'\]; choose from gabor"),
        (
            {"stem": "wav2vec2", "stem_norm": "batch"},
            "stem_norm is 'batch'; choose group or",
        ),
        ({"d_model": 30}, "does not split into 4 even heads; .* of 8$"),
        ({"conv_kernel": 4}, "conv_kernel is 4; make it odd"),
        ({"inter_ctc_layers": [2, 6]}, "6 layers, choose from 1 to 5"),
        ({"inter_ctc_layers": [0]}, r"inter_ctc_layers is \[0\]"),
        ({"inter_ctc_layers": [2, 2]}, "name each once"),
        ({"self_condition": True}, "is on without inter_ctc_layers; name"),
        (
            {"encoder": "rnn"},
            "encoder is 'rnn'; choose from conformer, wav2vec2",
        ),
        ({"norm_first": False}, "norm_first: of encoder: wav2vec2 only"),
        ({"conv_groups": 5} | WAV2VEC2, "conv_groups 5 do not divide d_model"),
        ({"position_buckets": 3} | WAV2VEC2, "position_buckets is 3 and"),
        (
            {"position_buckets": 80, "position_distance": 20} | WAV2VEC2,
            "position_buckets is 80 and position_distance 20; give no",
        ),
        ({"d_model": 36, "heads": 8} | WAV2VEC2, "into 8 heads; .* of 8$"),
        ({"decoder_heads": 5}, "d_model 192 does not split into 5 even dec"),
        ({"layers": 3}, "unknown key 'layers'; did you mean 'encoder_layers'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values, message):
    with pytest.raises(UserError, match=f"^model: .*{message}"):
        ModelConfig.from_dict(values)


def test_only_rotary_heads_must_be_even():
    sizes = ModelConfig(d_model=36, heads=4, conv_groups=4, **WAV2VEC2)
    with pytest.raises(UserError, match="^model: d_model 36 .* into 4 even .*"):
        build_model(sizes, 5)
    assert build_model(replace(sizes, decoder_heads=2), 5)


def test_another_stem_and_encoder_are_a_row_each(monkeypatch):
    class Half(GaborStem):
        @staticmethod
        def check_config(config):
            if config.stem_filters % 2:
                raise UserError(f"stem_filters is {config.stem_filters}")

    class Deep(ENCODERS["conformer"]):
        config_keys = ("conv_groups",)

    monkeypatch.setitem(STEMS, "half", Half)
    monkeypatch.setitem(ENCODERS, "deep", Deep)
    config = replace(ModelConfig.tiny(), stem="half", encoder="deep")
    encoder = SpeechEncoder(replace(config, conv_groups=2))
    assert type(encoder.frontend.stem) is Half and type(encoder.layers) is Deep
    states, lengths = encoder(torch.randn(1, 8000), torch.ones(1))
    assert states.shape[1] == lengths.item() > 0
    with pytest.raises(UserError, match="^model: stem_filters is 3$"):
        replace(config, stem_filters=3)
    with pytest.raises(UserError, match="^model: stem is .*, half$"):
        replace(config, stem="mfcc")
