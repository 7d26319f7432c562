import logging

import pytest

from nar_asr_lobes.dataio.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.hot_list import read_hot_words
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


def test_bad_lines_are_named_left_out_and_counted(listed, caplog):
    path = listed(b"abx\ncab\n--\nab1x\n")
    with caplog.at_level(logging.WARNING):
        assert read_hot_words(path, TOKENIZER, "english").phrases == ("cab",)
    assert caplog.messages == [
        f"{path}:1: has characters outside the tokenizer: 'x'; left out",
        f"{path}:3: has no letter or digit; left out",
        f"{path}:4: has characters outside the tokenizer: '1', 'x'; left out",
        f"{path}: 3 lines left out, 1 used",
    ]


def test_bad_files_are_one_clear_sentence(listed, tmp_path):
    for content, left_out in ((b"", 0), (b"\n \n", 0), (b"x\ny\n", 2)):
        message = rf"drugs.txt: has no usable hot word \({left_out} lines"
        with pytest.raises(UserError, match=message):
            read_hot_words(listed(content), TOKENIZER)
    with pytest.raises(UserError, match="drugs.txt: is not UTF-8 .byte 2"):
        read_hot_words(listed(b"ab\xff"), TOKENIZER)
    with pytest.raises(UserError, match="gone.txt: cannot read .*No such file"):
        read_hot_words(tmp_path / "gone.txt", TOKENIZER)
    with pytest.raises(UserError, match="hot_boost is 9"):
        read_hot_words(listed(b"ab"), TOKENIZER, boost=9)
