import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.modes import (
    MODES,
    DecodingOptions,
    Mode,
    available_modes,
    find_mode,
    hot_word_modes,
)
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.errors import UserError


def test_a_new_mode_is_a_row_of_the_table(model, batch, monkeypatch):
    """One on the device that builds on one that is not."""

    def backwards(job):
        [greedy] = job.before
        return [
            [Hypothesis(nbest[0].tokens[::-1], 0.0, 0.0)] for nbest in greedy
        ]

    mode = Mode(
        backwards,
        on_device=True,
        builds_on=lambda options: [("ctc_greedy", None)],
    )
    monkeypatch.setitem(MODES, "backwards", mode)
    recognizer = Recognizer(model, CharTokenizer(" abcdefg"))
    found = recognizer.recognize(*batch[:2], ["backwards", "ctc_greedy"]).modes
    assert list(found) == ["backwards", "ctc_greedy"]
    for greedy, mirrored in zip(
        found["ctc_greedy"].best, found["backwards"].best, strict=True
    ):
        assert mirrored.tokens == greedy.tokens[::-1]
    assert "backwards" in available_modes(())


def test_modes_on_the_cpu_build_on_no_mode_of_the_device():
    """Or they could not search while the device encodes."""
    from nar_asr_lobes.decoding.modes import DecodingOptions

    for mode in MODES.values():
        steps = mode.builds_on(DecodingOptions())
        assert mode.on_device or not any(MODES[n].on_device for n, _ in steps)


def test_only_beams_take_hot_words():
    assert hot_word_modes() == ["beam5", "beam5_lm", "nar_beam5_lm"]


def test_a_mode_that_cannot_work_is_one_clear_sentence():
    with pytest.raises(UserError, match="unknown decoding mode 'x'; choose fr"):
        find_mode("x")
    with pytest.raises(UserError, match="beam5_lm needs a language model; add"):
        find_mode("beam5_lm", {"neural"}, "add one")
    assert find_mode("beam5_lm", {"ngram"}) is MODES["beam5_lm"]


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


def test_a_model_without_decoder_has_the_modes_that_need_none():
    assert available_modes({"ngram"}) == ["ctc_greedy", "beam5", "beam5_lm"]
    both = available_modes({"ngram", "neural"})
    assert "nar" not in both and "nar_beam5_lm" in both
    with pytest.raises(
        UserError,
        match="nar needs a NAR decoder, and there is none; choose from ctc_gre",
    ):
        find_mode("nar", {"ngram", "neural"})
    with pytest.raises(UserError, match="nar_beam5_lm needs a NAR decoder or "):
        find_mode("nar_beam5_lm", {"ngram"})
    assert find_mode("nar", {"decoder"}) is MODES["nar"]
