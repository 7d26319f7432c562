"""Every reader of text: byte-order marks, line ends, odd separators."""

import pytest

from nar_asr_lobes.dataio.synthesis.phones import Lexicon, load_lexicon
from nar_asr_lobes.dataio.text.files import read_lines
from nar_asr_lobes.errors import UserError

BOM = b"\xef\xbb\xbf"


def test_lines_end_at_line_feeds_only(tmp_path):
    path = tmp_path / "a.txt"
    lines = ["a\u2028b", "c\x85\x0b\x0c\x1cd\re", "", " f\t", "\ufeff"]
    path.write_bytes(BOM + "\r\n".join(lines).encode() + b"\n")
    assert list(read_lines(path)) == lines
    path.write_bytes("\n".join(lines).encode())
    sizes = []
    assert list(read_lines(path, progress=sizes.append)) == lines
    assert sum(sizes) == path.stat().st_size


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(UserError, match="a.txt: cannot be read .*; look again"):
        list(read_lines(path, "look again"))
    path.write_bytes(b"ab\nc\xe9\n")
    with pytest.raises(UserError, match=r"a.txt:2: .*byte 2 of the line"):
        list(read_lines(path))
    path.write_text("ab", encoding="utf-16")
    with pytest.raises(UserError, match=r"a.txt:1: is not UTF-8 text"):
        list(read_lines(path))


def test_a_lexicon_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "lexicon.json"
    lexicon = Lexicon("en", ("n", "o"), {"no": (1, 2)})
    lexicon.save(path)
    path.write_bytes(BOM + path.read_bytes())
    assert load_lexicon(path) == lexicon
