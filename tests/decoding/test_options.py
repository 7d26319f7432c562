import pytest

from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.errors import UserError


def test_what_is_written_is_read_back():
    options = DecodingOptions.from_dict(
        {
            "beam5_lm": {"lm_weight": 0.9, "max_candidates": None},
            "nar": {"passes": 3},
            "nar_beam5_lm": {"include_nar": True},
        }
    )
    assert options.beam5_lm.max_candidates is None
    assert (
        options.beam5_lm.token_bonus == DecodingOptions().beam5_lm.token_bonus
    )
    assert options.nar_beam5_lm.include_nar
    assert DecodingOptions.from_dict(options.to_dict()) == options


def test_nothing_given_is_the_default():
    assert DecodingOptions.from_dict({}) == DecodingOptions()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beams": {}}, "decoding: unknown key 'beams'; did you mean 'beam5'"),
        ({"ctc_greedy": {}}, "decoding: unknown key 'ctc_greedy'"),
        ({"beam5": {"lm": 1}}, "decoding.beam5: unknown key 'lm'; .*lm_weight"),
        ({"beam5_lm": {"beam_size": 0}}, "^decoding.beam5_lm: beam_size is 0"),
        ({"beam5": {"lm_weight": 0.5}}, "decoding.beam5: .* works without"),
        ({"beam5": 5}, "decoding.beam5: must hold keys, not 5"),
    ],
)
def test_a_wrong_entry_is_one_clear_sentence(values, message):
    with pytest.raises(UserError, match=message):
        DecodingOptions.from_dict(values)
