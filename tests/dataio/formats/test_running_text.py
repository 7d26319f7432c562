"""Transcripts in the forms of other programs, and segments written in them."""

import math
from xml.etree import ElementTree

import pytest

from nar_asr_lobes.dataio.formats.elan import format_elan, read_elan
from nar_asr_lobes.dataio.formats.running_text import read_running_text
from nar_asr_lobes.dataio.formats.subtitles import format_srt, read_srt
from nar_asr_lobes.dataio.formats.textgrid import (
    format_textgrid,
    read_textgrid,
)
from nar_asr_lobes.errors import UserError

ROWS = [(0.5, 1.25, 'says "ah" & <oh>'), (1.25, 2.0, "ẹ kú"), (3.0, 4.5, "no")]

# As ELAN 6 writes it: a tier that refers to another, a slot without a time.
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+01:00" FORMAT="3.0"
 VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="2000"/>
<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="3000"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="100"/>
<TIME_SLOT TIME_SLOT_ID="ts4"/>
</TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="speech">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1"
 TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>second</ANNOTATION_VALUE>
</ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3"
 TIME_SLOT_REF2="ts4"><ANNOTATION_VALUE>first</ANNOTATION_VALUE>
</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="r" PARENT_REF="speech" TIER_ID="gloss">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>zweiter</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER></ANNOTATION_DOCUMENT>
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_written_files_are_read_back(tmp_path):
    textgrid = write(tmp_path / "a.TextGrid", format_textgrid(ROWS, "A", 5.0))
    elan = write(tmp_path / "a.eaf", format_elan(ROWS, "A", "a.wav"))
    srt = write(tmp_path / "a.srt", format_srt(ROWS))
    filled = read_textgrid(textgrid)
    for found in (filled, read_elan(elan)):
        kept = [(x.start, x.end, x.text) for x in found if x.text]
        assert kept == ROWS
    assert [(x.start, x.end) for x in read_srt(srt)] == [x[:2] for x in ROWS]
    ends = [0.0, *(x.end for x in filled)]
    assert ends == [*(x.start for x in filled), 5.0]  # no gaps, as Praat wants


def test_textgrid_intervals_never_overlap(tmp_path):
    rows = [(0.0, 2.0, "a"), (1.5, 3.0, "b"), (2.5, 2.8, "c")]
    path = write(tmp_path / "a.TextGrid", format_textgrid(rows, "A", 2.9))
    found = [(x.start, x.end, x.text) for x in read_textgrid(path)]
    assert found == [(0.0, 2.0, "a"), (2.0, 2.9, "b")]


def test_elan_tiers_times_and_references(tmp_path):
    path = write(tmp_path / "a.eaf", EAF)
    second, first, gloss = read_elan(path)
    assert (second.start, second.end) == (gloss.start, gloss.end) == (2.0, 3.0)
    assert first.start == 0.1 and math.isnan(first.end)
    with pytest.raises(UserError, match="--tier from 'speech', 'gloss'"):
        read_running_text(path)
    assert read_running_text(path, ["speech"]) == ["first", "second"]
    with pytest.raises(UserError, match="no tier 'x'"):
        read_running_text(path, ["x"])


def test_subtitles_of_others(tmp_path):
    text = (
        "\ufeff1\r\n00:00:01,000 --> 00:00:02,500 X1:0\r\n"
        "{\\an8}<i>No</i> <font color='red'>pain</font>\r\nat 3 < 4\r\n\r\n"
        "2\r\n01:00:00.5 --> 01:00:01.0\r\n\r\n"
    )
    path = tmp_path / "a.srt"
    path.write_bytes(text.encode())
    assert read_running_text(path) == ["No pain at 3 < 4"]
    assert read_srt(path)[1].start == 3600.5


def test_long_lines_lose_no_character(tmp_path):
    line = "One two. Three four? " * 20 + "word " * 100 + "x" * 450
    path = write(tmp_path / "a.txt", f"short one. stays\n\n{line}\n")
    first, *rest = read_running_text(path)
    assert first == "short one. stays" and rest[0] == "One two."
    assert max(map(len, rest)) <= 200
    joined = "".join(rest).replace(" ", "")
    assert joined == line.replace(" ", "")


@pytest.mark.parametrize("name", ["a.txt", "a.srt", "a.eaf", "a.TextGrid"])
def test_files_that_hold_nothing_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=name):
        read_running_text(write(tmp_path / name, ""))
    with pytest.raises(UserError, match=name):
        read_running_text(tmp_path / "no" / name)


def test_elan_files_are_whole_xml():
    root = ElementTree.fromstring(format_elan(ROWS, "A").encode())
    assert [x.text for x in root.iter("ANNOTATION_VALUE")] == [
        text for _, _, text in ROWS
    ]
