import pytest

from nar_asr_lobes.dataio.synthesis.espeak import Espeak
from nar_asr_lobes.dataio.synthesis.phones import (
    Lexicon,
    load_lexicon,
    make_lexicon,
)
from nar_asr_lobes.errors import UserError

pytest.importorskip("espeakng_loader")


def test_words_are_pronounced_alike_where_they_sound_alike():
    lexicon = make_lexicon(["two boys", "too big", "to buy"], "en-us")
    assert lexicon.words["two"] == lexicon.words["too"]
    assert lexicon.words["boys"][0] == lexicon.words["big"][0]
    assert lexicon.encode("two big") == [
        *lexicon.words["two"],
        *lexicon.words["big"],
    ]
    assert not set("ˈˌː") & set("".join(lexicon.phones))
    units = {unit for units in lexicon.words.values() for unit in units}
    assert units == set(range(1, lexicon.size))


def test_the_order_of_the_texts_does_not_matter():
    texts = ["no chest pain", "the pain is sharp"]
    assert make_lexicon(texts, "en-us") == make_lexicon(texts[::-1], "en-us")


def test_other_languages_are_known():
    assert make_lexicon(["habari"], "sw").encode("habari")


def test_phones_do_not_depend_on_what_was_spoken_before():
    with Espeak() as espeak:
        first = espeak.phones("no chest pain", "en-us")
        espeak.speak("quite another thing", "en+f2")
        assert espeak.phones("no chest pain", "en-us") == first
    assert len(first) == 2 + 4 + 3


def test_it_is_read_as_it_was_written(tmp_path):
    lexicon = make_lexicon(["no chest pain", "naïve ñandú"], "en-us")
    lexicon.save(tmp_path / "lexicon.json")
    assert load_lexicon(tmp_path / "lexicon.json") == lexicon
    assert [path.name for path in tmp_path.iterdir()] == ["lexicon.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": 3}', "\xff"])
def test_a_damaged_file_is_refused(text, tmp_path):
    path = tmp_path / "lexicon.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="lexicon.json: this lexicon is dama"):
        load_lexicon(path)


def test_an_unknown_voice_is_refused():
    with pytest.raises(UserError, match="no voice 'xx-nowhere'"):
        make_lexicon(["no"], "xx-nowhere")


def test_a_word_without_phones_has_no_units():
    assert Lexicon("en", ("n",), {"hm": ()}).encode("hm") == []
