"""TextGrids in the forms that Praat and PriMock57 write."""

import pytest

from nar_asr_lobes.dataio.formats.textgrid import read_textgrid
from nar_asr_lobes.errors import UserError
from tests.recipes.corpus_trees import textgrid

INTERVALS = [(0, 1.5, ""), (1.5, 3.25, 'He said "2 <3" and\nleft [1] 7')]
SHORT = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n3.25\n<exists>\n'
    '2\n"TextTier"\n"clicks"\n0\n3.25\n1\n0.5\n"click"\n'
    '"IntervalTier"\n"Speaker"\n0\n3.25\n2\n0\n1.5\n""\n1.5\n3.25\n'
    '"He said ""2 <3"" and\nleft [1] 7"\n'
)


@pytest.fixture
def grid(tmp_path):
    """Return a function that writes a file and gives its path."""

    def write(content):
        path = tmp_path / "a.TextGrid"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        textgrid(INTERVALS, 3.25),
        textgrid(INTERVALS, 3.25, tabs=False),
        b"\xef\xbb\xbf" + textgrid(INTERVALS, 3.25),
        textgrid(INTERVALS, 3.25).decode().encode("utf-16"),
        SHORT.encode(),
        SHORT.encode("utf-16"),
    ],
)
def test_intervals_of_every_form(grid, content):
    found = read_textgrid(grid(content))
    assert [(x.start, x.end, x.text) for x in found] == INTERVALS
    assert {x.tier for x in found} == {"Speaker"}


def test_the_line_of_an_interval_is_that_of_its_start(grid):
    content = textgrid(INTERVALS, 3.25)
    lines = content.decode().split("\r\n")
    found = read_textgrid(grid(content))
    assert [lines[x.line - 1].strip() for x in found] == [
        "xmin = 0",
        "xmin = 1.5",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ":1: ends early"),
        (b'"ooTextFile" "Pitch 1"', ":1: is not a TextGrid"),
        (textgrid(INTERVALS, 3.25)[:-9], ":23: ends early"),
        (
            SHORT.replace("\n1.5\n", "\nx\n").encode(),
            ":22: has no number where",
        ),
        (SHORT.replace('""\n', "7\n", 1).encode(), ":22: has a number in"),
        (b'"ooTextFile"\n"\xff"', ":2: is neither UTF-8 nor UTF-16"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(grid, content, problem):
    path = grid(content)
    with pytest.raises(UserError) as caught:
        read_textgrid(path)
    assert f"{path}{problem}" in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read .No such file"):
        read_textgrid(tmp_path / "no.TextGrid")
