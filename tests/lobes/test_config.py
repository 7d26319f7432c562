from dataclasses import replace

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig


def test_a_configuration_survives_its_dictionary():
    tiny = ModelConfig.tiny()
    other = replace(tiny, stem="wav2vec2", stem_norm="layer", dropout=0.2)
    for config in (ModelConfig(), tiny, other):
        assert ModelConfig.from_dict(config.to_dict()) == config
    assert tiny.to_dict() != other.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stem": "mfcc"}, "stem is 'mfcc'; choose gabor or wav2vec2"),
        ({"stem_norm": "batch"}, "stem_norm is 'batch'; choose group or"),
        ({"d_model": 30}, "does not split into 4 even heads; .* of 8$"),
        ({"conv_kernel": 4}, "conv_kernel is 4; make it odd"),
        ({"inter_ctc_layers": [2, 6]}, "6 layers, choose from 1 to 5"),
        ({"inter_ctc_layers": [0]}, r"inter_ctc_layers is \[0\]"),
        ({"inter_ctc_layers": [2, 2]}, "name each once"),
        ({"self_condition": True}, "is on without inter_ctc_layers; name"),
        ({"layers": 3}, "unknown key layers; known keys are stem,"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values, message):
    with pytest.raises(UserError, match=f"^model: .*{message}"):
        ModelConfig.from_dict(values)
