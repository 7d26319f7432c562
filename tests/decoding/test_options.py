import pytest

from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.errors import UserError


def test_what_is_written_is_read_back():
    options = DecodingOptions.from_dict(
        {
            "beam_lm": {"lm_weight": 0.9, "max_candidates": None},
            "mask_predict": {"passes": 3},
            "rescore": {"include_nar": True},
        }
    )
    assert options.beam_lm.max_candidates is None
    assert options.beam_lm.token_bonus == DecodingOptions().beam_lm.token_bonus
    assert options.rescore.include_nar
    assert DecodingOptions.from_dict(options.to_dict()) == options


def test_nothing_given_is_the_default():
    assert DecodingOptions.from_dict({}) == DecodingOptions()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beams": {}}, "decoding: unknown key 'beams'; did you mean 'beam'"),
        ({"nar": {}}, "decoding: unknown key 'nar'"),
        ({"beam": {"lm": 1}}, "decoding.beam: unknown key 'lm'; .*lm_weight"),
        ({"beam_lm": {"beam_size": 0}}, "beam_size is 0"),
        ({"beam": {"lm_weight": 0.5}}, "beam5 works without"),
        ({"beam": 5}, "decoding.beam: must hold keys, not 5"),
    ],
)
def test_a_wrong_entry_is_one_clear_sentence(values, message):
    with pytest.raises(UserError, match=message):
        DecodingOptions.from_dict(values)
