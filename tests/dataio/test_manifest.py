"""Manifests come back as written, and each bad line is named."""

import gzip
import json
import os

import pytest

from nar_asr_lobes.dataio.manifest import (
    Utterance,
    read_lines,
    read_manifest,
    read_sentences,
    refuse,
    write_manifest,
)
from nar_asr_lobes.dataio.synthesis.phones import Lexicon, load_lexicon
from nar_asr_lobes.errors import UserError

GOOD = {"id": "u1", "audio": "u1.wav", "duration": 1.0}
SECRET = "patient jane doe"


def write_lines(path, *rows):
    """Write rows (dicts or raw bytes) below a header."""
    lines = [json.dumps({"data_root": "/corpus"}).encode()]
    for row in rows:
        raw = isinstance(row, bytes)
        lines.append(row if raw else json.dumps(row).encode())
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_round_trip(tmp_path):
    rows = [
        Utterance("a", str(tmp_path / "x/a.wav"), 1.25, 'say "$5", {x}\n', "s"),
        Utterance("b", "x/b.flac", 2, "ẹ̀kọ́ خلف \u2028"),
        Utterance("c", "/elsewhere/c.wav", 0.1),
        Utterance("d", "d.wav", 3.5, text=""),
        Utterance("e", "d.wav", 2.0, start=3.5),
        Utterance("f", "d.wav", 3.5, start=0.0, groups={"age": "26-40"}),
    ]
    path = tmp_path / "deep" / "train.jsonl"
    assert write_manifest(path, iter(rows), tmp_path) == 6
    found = read_manifest(path)
    assert [r.groups for r in found] == [None] * 5 + [{"age": "26-40"}]
    assert [r.text for r in found] == [r.text for r in rows]
    assert [r.duration for r in found] == [1.25, 2, 0.1, 3.5, 2, 3.5]
    assert [r.start for r in found] == [None, None, None, None, 3.5, 0]
    assert found[0].stretch == {}  # the whole file
    assert found[5].stretch == {"start": 0, "seconds": 3.5}
    assert found[0].speaker == "s" and found[1].speaker is None
    assert [r.audio for r in found] == [
        str(tmp_path / "x/a.wav"),
        str(tmp_path / "x/b.flac"),
        "/elsewhere/c.wav",
        *[str(tmp_path / "d.wav")] * 3,
    ]


def test_a_corpus_can_move(tmp_path):
    row = Utterance("a", str(tmp_path / "x/a.wav"), 1.0)
    write_manifest(tmp_path / "m.jsonl", [row], tmp_path)
    found = read_manifest(tmp_path / "m.jsonl", "/mnt/corpus")
    assert found[0].audio == "/mnt/corpus/x/a.wav"


def test_a_relative_root_starts_at_the_manifest(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", GOOD)
    path.write_text(path.read_text().replace("/corpus", "clips"))
    assert read_manifest(path)[0].audio == str(tmp_path / "clips/u1.wav")


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", b"", GOOD, b"  ")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_manifest(path)[0].id == "u1"


BAD = {
    "not valid JSON": b'{"id": "u2", "audio"',
    "not UTF-8": b'{"id": "\xe9"}',
    "not a JSON object": b'["u2"]',
    "nested too deeply": b"[" * 100000,
    "key 'audio' is missing": {"id": "u2", "duration": 1.0},
    "unknown key 'wav'": {**GOOD, "id": "u2", "wav": "x"},
    "its id already stands in line 2": GOOD,
    "'id' is not a non-empty string": {**GOOD, "id": " "},
    "'audio' is not a non-empty": {**GOOD, "id": "u2", "audio": 3},
    "'text' is not a string": {**GOOD, "id": "u2", "text": 5},
    "duration nan is not a finite": {**GOOD, "id": "u2", "duration": "NAN"},
    "duration inf is not": {**GOOD, "id": "u2", "duration": "INF"},
    "duration -1.0 is not a finite": {**GOOD, "id": "u2", "duration": -1.0},
    "duration 0 is not a finite": {**GOOD, "id": "u2", "duration": 0},
    "'duration' is not a number": {**GOOD, "id": "u2", "duration": "1.0"},
    "'groups' is not a mapping": {**GOOD, "id": "u2", "groups": {"a": 1}},
    "names to strings": {**GOOD, "id": "u2", "groups": ["a"]},
    "'start' is not a number": {**GOOD, "id": "u2", "start": "1.0"},
    "start -1 is not a finite": {**GOOD, "id": "u2", "start": -1},
    "start inf is not": {**GOOD, "id": "u2", "start": "INF"},
    "'duration' is not a number of": {**GOOD, "id": "u2", "duration": True},
}


@pytest.mark.parametrize("problem", BAD)
def test_bad_lines_are_named(tmp_path, problem):
    path = write_lines(tmp_path / "m.jsonl", GOOD, BAD[problem])
    content = path.read_bytes().replace(b'"NAN"', b"NaN")
    path.write_bytes(content.replace(b'"INF"', b"Infinity"))
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert f"{path}:3: " in str(caught.value)
    assert problem in str(caught.value)
    assert ("correct or remove" in str(caught.value)) == (
        problem != "not UTF-8"
    )


def test_all_faults_are_counted_and_no_text_is_shown(tmp_path):
    bad = {**GOOD, "text": SECRET, "x": 1}
    broken = json.dumps({**GOOD, "text": SECRET}).encode()[:-1]
    path = write_lines(tmp_path / "m.jsonl", bad, broken, GOOD, bad, bad, bad)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith("5 faults: ") and "and 2 more" in message
    assert f"{path}:2: " in message and f"{path}:3: " in message
    assert SECRET not in message and "\n" not in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (json.dumps(GOOD).encode(), "the header"),
        (b'{"data_root": 3}', "the header"),
        (b'{"data_root": "/corpus"}\n', "holds no utterances"),
    ],
)
def test_header_and_empty_manifest(tmp_path, content, problem):
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="prepare the data first"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize("duration", [float("nan"), 0.0, "1"])
def test_what_cannot_be_read_is_not_written(tmp_path, duration):
    path = tmp_path / "m.jsonl"
    rows = [Utterance("a", "a.wav", 1.0)]
    write_manifest(path, rows, tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="utterance 2"):
        write_manifest(
            path, [*rows, Utterance("b", "b.wav", duration)], tmp_path
        )
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.jsonl"]


def test_a_failing_source_leaves_nothing(tmp_path):
    def source():
        yield Utterance("a", "a.wav", 1.0)
        raise KeyError("parser")

    with pytest.raises(KeyError):
        write_manifest(tmp_path / "m.jsonl", source(), tmp_path)
    assert os.listdir(tmp_path) == []


def test_refuse_counts():
    refuse([], "unused")
    with pytest.raises(UserError) as caught:
        refuse([f"f{i}" for i in range(5)], "correct them")
    assert str(caught.value) == "5 faults: f0, f1, f2 and 2 more; correct them"
    with pytest.raises(UserError, match="^f0; correct it$"):
        refuse(["f0"], "correct it")


def test_lines_and_transcripts_are_the_sentences(tmp_path):
    sentences = ["good\u2028 morning", "no\x85 pain\rat all", "", "ten"]
    path = tmp_path / "a.txt"
    path.write_bytes(
        "\r\n".join(["\ufeff" + sentences[0], *sentences[1:]]).encode()
    )
    assert list(read_sentences(path)) == sentences
    rows = [
        Utterance(str(i), "a.wav", 1.0, text or None)
        for i, text in enumerate(sentences)
    ]
    write_manifest(tmp_path / "a.jsonl", rows, tmp_path)
    assert list(read_sentences(tmp_path / "a.jsonl")) == sentences


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


def test_compressed_lines(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(BOM + "one\ntwo é\r\n".encode())
    path.write_bytes(whole)
    assert list(read_lines(path)) == ["one", "two é"]
    for damaged in (whole[:-9], b"one\ntwo\n"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="gz: is not a whole gzip file"):
            list(read_lines(path))


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
