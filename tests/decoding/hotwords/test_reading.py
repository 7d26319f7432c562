import logging

import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.hotwords.reading import read_hot_words
from nar_asr_lobes.errors import UserError

TOKENIZER = CharTokenizer("abcé ")


@pytest.fixture
def listed(tmp_path):
    """Write a list; return its path."""

    def write(content):
        path = tmp_path / "drugs.txt"
        path.write_bytes(content)
        return path

    return write


def test_phrases_are_normalised_like_the_transcripts(listed):
    path = listed("\ufeffABBA,\r\n\n  cab - a\ncafe\u0301".encode())
    hot = read_hot_words(path, CharTokenizer("abcéf "), "english", 2.0)
    assert hot.phrases == ("abba", "cab a", "café")
    assert hot.boost == 2.0


@pytest.mark.parametrize(
    "content",
    [
        "ab, ba ab;c\n",
        "ab,ba ab,\nc\n",
        "# drugs, ward 3\nab\n\n  # ; more\nba ab\nc",
        "ab、ba ab，c",
        "ab؛ ba ab، c",
    ],
)
def test_a_line_each_or_commas_between(listed, content):
    hot = read_hot_words(listed(content.encode()), TOKENIZER)
    assert hot.phrases == ("ab", "ba ab", "c")


def test_a_comma_in_a_number_separates_nothing(listed):
    hot = read_hot_words(listed(b"a 1,000,b 2, c"), CharTokenizer("abc0123, "))
    assert hot.phrases == ("a 1,000", "b 2", "c")


def test_what_cannot_be_recognised_is_counted_and_named(listed, caplog):
    path = listed(b"abx, cab\n--\nab1x\n" + b"z\n" * 4)
    with caplog.at_level(logging.WARNING):
        assert read_hot_words(path, TOKENIZER, "english").phrases == ("cab",)
    assert caplog.messages == [
        f"{path}: 7 of 8 hot words cannot be recognised and are left out: "
        "'abx' (line 1), '--' (line 2), 'ab1x' (line 3), 'z' (line 4), 'z' "
        "(line 5) and 2 more; the model does not know 'x', '-', '1', 'z'"
    ]


def test_bad_files_are_one_clear_sentence(listed, tmp_path):
    for content in (b"", b"\n \n", b"# ab\n"):
        with pytest.raises(UserError, match="usable hot word; .* between them"):
            read_hot_words(listed(content), TOKENIZER)
    message = r"drugs.txt: has no usable hot word; .* \(2 of 2 hot words cannot"
    with pytest.raises(UserError, match=message):
        read_hot_words(listed(b"x\ny\n"), TOKENIZER)
    with pytest.raises(UserError, match="drugs.txt: is not UTF-8 .byte 2"):
        read_hot_words(listed(b"ab\xff"), TOKENIZER)
    with pytest.raises(UserError, match="gone.txt: cannot read .*No such file"):
        read_hot_words(tmp_path / "gone.txt", TOKENIZER)
    with pytest.raises(UserError, match="hot_boost is 9"):
        read_hot_words(listed(b"ab"), TOKENIZER, boost=9)
