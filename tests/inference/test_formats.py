"""Text, JSON and subtitles, as files of these kinds must look."""

import json
import re

import pytest

from nar_asr_lobes.dataio.formats.elan import read_elan
from nar_asr_lobes.dataio.formats.textgrid import read_textgrid
from nar_asr_lobes.decoding.alignment import Word
from nar_asr_lobes.inference.formats import (
    FORMATS,
    _to_json,
    _to_srt,
    _to_txt,
)
from nar_asr_lobes.inference.transcriber import Transcript


def transcript(*words):
    """Words as (text, start, end), all of one confidence."""
    words = tuple(Word(*word, 0.98765) for word in words)
    return Transcript("a.wav", 9.5, " ".join(w.text for w in words), words)


def steady(count, text="word", step=0.5, length=0.4, start=0.0):
    return [
        (text, start + i * step, start + i * step + length)
        for i in range(count)
    ]


def cues(found):
    """Parse subtitles strictly: (start, end, lines), in milliseconds."""
    if not found:
        return []
    parsed = []
    for number, block in enumerate(found[:-1].split("\n\n"), 1):
        first, times, *lines = block.split("\n")
        assert first == str(number)
        match = re.fullmatch(
            r"(\d\d):(\d\d):(\d\d),(\d\d\d) --> (\d\d):(\d\d):(\d\d),(\d\d\d)",
            times,
        )
        h, m, s, ms, h2, m2, s2, ms2 = map(int, match.groups())
        assert max(m, s, m2, s2) < 60
        start = ((h * 60 + m) * 60 + s) * 1000 + ms
        parsed.append((start, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2, lines))
    return parsed


def test_txt_is_the_text():
    assert _to_txt(transcript(("né", 0, 1), ("pas", 1, 2))) == "né pas\n"


def test_json_is_one_line_with_times_in_seconds():
    line = _to_json(transcript(("né", 0.1234567, 1.0)))
    assert line.count("\n") == 1 and "né" in line
    assert json.loads(line) == {
        "path": "a.wav",
        "seconds": 9.5,
        "text": "né",
        "words": [
            {"text": "né", "start": 0.123, "end": 1.0, "confidence": 0.988}
        ],
    }


@pytest.mark.parametrize(
    "start, end, stamps",
    [
        (0.0, 1.5, "00:00:00,000 --> 00:00:01,500"),
        (59.9996, 61.0, "00:01:00,000 --> 00:01:01,000"),  # rounds up
        (3599.0, 3601.25, "00:59:59,000 --> 01:00:01,250"),
        (36000.04, 36001.08, "10:00:00,040 --> 10:00:01,080"),
    ],
)
def test_srt_time_stamps(start, end, stamps):
    assert _to_srt(transcript(("no", start, end))) == f"1\n{stamps}\nno\n"


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], []),
        # a word of 40 ms is shown for a second, or until the next cue
        ([("a", 1, 1.04)], [(1000, 2000, ["a"])]),
        (
            [("a", 1, 1.04), ("b", 2.6, 3.9)],
            [(1000, 2000, ["a"]), (2600, 3900, ["b"])],
        ),
        # words close together share a cue
        ([("a", 1, 1.5), ("b", 2, 3)], [(1000, 3000, ["a b"])]),
        # 42 characters to a line
        (
            [("x" * 20, 0, 1), ("y" * 21, 1, 2), ("z", 2, 3)],
            [(0, 3000, ["x" * 20 + " " + "y" * 21, "z"])],
        ),
        # a third line would be a new cue
        (
            [("x" * 30, i, i + 0.5) for i in range(3)],
            [(0, 1500, ["x" * 30] * 2), (2000, 3000, ["x" * 30])],
        ),
        # 7 s at most, even for one word
        ([("a", 0, 9)], [(0, 7000, ["a"])]),
        ([("a", 0, 6), ("b", 6, 7.1)], [(0, 6000, ["a"]), (6000, 7100, ["b"])]),
    ],
)
def test_srt_cues(words, expected):
    assert cues(_to_srt(transcript(*words))) == expected


def test_srt_of_a_long_talk_keeps_every_word_and_never_overlaps():
    words = steady(300, step=0.37) + steady(200, "ab", 0.9, 0.04, start=200)
    found = cues(_to_srt(transcript(*words)))
    shown = " ".join(line for _, _, lines in found for line in lines).split()
    assert shown == [text for text, _, _ in words]
    for start, end, lines in found:
        assert 0 < end - start <= 7000
        assert 1 <= len(lines) <= 2
        assert all(len(line) <= 42 for line in lines)
    for (_, end, _), (start, _, _) in zip(found, found[1:], strict=False):
        assert end <= start


def test_srt_without_spaces_shows_every_character_in_its_time():
    """24 s, one character every 0.3 s, as ``word_times`` gives them."""
    text = "今天天气很好，我们去公园。" * 6 + "再见"
    words = tuple(
        Word(character, 0.3 * i, 0.3 * i + 0.04, 0.9, space_before=i == 0)
        for i, character in enumerate(text)
    )
    found = cues(_to_srt(Transcript("a.wav", 24.0, text, words)))
    assert "".join("".join(lines) for _, _, lines in found) == text
    shown = 0
    for start, end, lines in found:
        assert start == round(300 * shown)
        assert end - start <= 7000 and len(lines) <= 2
        assert all(len(line) <= 21 for line in lines)
        shown += sum(map(len, lines))
    assert found[-1][1] > 23700


@pytest.mark.parametrize(
    "name, read", [("TextGrid", read_textgrid), ("eaf", read_elan)]
)
def test_annotations_have_a_tier_of_words(tmp_path, name, read):
    words = steady(15)
    path = tmp_path / "a.annotations"
    path.write_text(FORMATS[name](transcript(*words)))
    found = [row for row in read(path) if row.text]
    assert {row.tier for row in found} == {"words"}
    for row, (text, start, end) in zip(found, words, strict=True):
        assert row.text == text
        assert (row.start, row.end) == pytest.approx((start, end), abs=1e-3)
