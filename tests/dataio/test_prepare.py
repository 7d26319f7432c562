"""A parser's rows become manifests; bad tables and ids are named."""

import logging

import pytest

from nar_asr_lobes.dataio.manifest import Utterance, read_manifest
from nar_asr_lobes.dataio.prepare import (
    UTTERANCE_COLUMNS,
    prepare_manifests,
    read_tsv,
    tsv_utterances,
)
from nar_asr_lobes.errors import UserError

HEADER = "\t".join(UTTERANCE_COLUMNS)
LINE = "u1\ta/u1.opus\ts1\ttrain\t1.5\tgood morning"


def table(tmp_path, *lines):
    """Write utterances.tsv from lines of text or bytes."""
    raw = [x if isinstance(x, bytes) else x.encode() for x in lines]
    path = tmp_path / "utterances.tsv"
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def test_manifests_hold_the_splits_with_normalised_text(tmp_path, caplog):
    rows = [
        Utterance("b", str(tmp_path / "b.wav"), 1800, "Good MORNING!", "s"),
        Utterance("a", "a.wav", 1800),
    ]
    with caplog.at_level(logging.INFO):
        paths = prepare_manifests(
            {"train": iter(rows), "dev": rows[1:]},
            tmp_path / "save",
            tmp_path,
            "english",
        )
    assert paths == {
        name: tmp_path / "save" / f"{name}.jsonl" for name in ("train", "dev")
    }
    found = read_manifest(paths["train"])
    assert [(u.id, u.text) for u in found] == [
        ("b", "good morning"),
        ("a", None),
    ]
    assert found[1].audio == str(tmp_path / "a.wav")
    assert "train: 2 utterances, 1.00 h" in caplog.text
    assert "morning" not in caplog.text.lower()


def test_invisible_characters_are_removed_and_counted(tmp_path, caplog):
    texts = ["good\u200b mor\u00adning", "\ufeffno▁pain", "fine", None]
    rows = [Utterance(f"u{i}", "a", 1.0, text) for i, text in enumerate(texts)]
    paths = prepare_manifests({"train": rows}, tmp_path, tmp_path)
    found = [row.text for row in read_manifest(paths["train"])]
    assert found == ["good morning", "no pain", "fine", None]
    assert "train: 4 invisible characters removed from 2 transcripts" in (
        caplog.text
    )


def test_duplicate_ids(tmp_path):
    row = Utterance("a", "a.wav", 1.0)
    rows = [row, Utterance("b", "b.wav", 1.0), row, Utterance("b", "c.wav", 1)]
    with pytest.raises(UserError) as caught:
        prepare_manifests({"train": rows}, tmp_path, tmp_path)
    message = str(caught.value)
    assert message.startswith("2 faults: split 'train': id a stands for a.wav")
    assert "id b stands for b.wav and again for c.wav" in message
    prepare_manifests({"train": [row], "pool": [row]}, tmp_path, tmp_path)


def test_no_splits_and_empty_splits(tmp_path):
    with pytest.raises(UserError, match="returned no splits"):
        prepare_manifests({}, tmp_path, tmp_path)
    with pytest.raises(UserError, match="split 'dev' has no utterances"):
        prepare_manifests({"dev": iter([])}, tmp_path, tmp_path)


def test_tables_are_read_without_quoting(tmp_path):
    path = table(
        tmp_path, b"\xef\xbb\xbfid\ttext\textra", 'u1\tsay "hi\t', "", "u2\t\tx"
    )
    rows = read_tsv(path, ["id", "text"])
    assert [(r["id"], r["text"], r["extra"]) for r in rows] == [
        ("u1", 'say "hi', ""),
        ("u2", "", "x"),
    ]
    assert rows[1]["line"] == f"{path}:4"


def test_windows_line_ends(tmp_path):
    path = table(tmp_path, "id\ttext\r", "u1\thello\r")
    assert read_tsv(path, ["text"])[0]["text"] == "hello"


def test_no_character_of_a_text_refuses_a_table(tmp_path, caplog):
    odd = LINE.replace("good", "good\u2028 \x85 \x0b\x1c")
    tabs = LINE.replace("good", "\tgood\t")
    path = table(tmp_path, "\ufeff" + HEADER, LINE, "", odd, "\t", LINE, tabs)
    texts = [row["text"] for row in read_tsv(path, UTTERANCE_COLUMNS)]
    assert [" ".join(text.split()) for text in texts] == ["good morning"] * 4
    assert "1 lines have tabs in their text, taken as spaces" in caplog.text
    assert f"{path}:7: 8 fields instead of 6" in caplog.text
    middle = table(tmp_path, "id\ttext\tsplit", "u\ta\tb\tx", "v\tc\ty")
    found = [(row["text"], row["split"]) for row in read_tsv(middle, ["id"])]
    assert found == [("a b", "x"), ("c", "y")]


@pytest.mark.parametrize(
    ("lines", "where", "problem"),
    [
        ([HEADER, LINE, "u2\tx"], 3, "2 fields instead of 6"),
        ([HEADER, LINE + "\tmore"], 2, "7 fields instead of 6"),
        ([HEADER, LINE.encode() + b"\xe9"], 2, "not UTF-8 text"),
        ([HEADER, LINE.replace("1.5", "long")], 2, "duration is not a number"),
        ([HEADER.replace("speaker", "who")], 1, "column 'speaker' is missing"),
        ([HEADER.encode() + b"\xff"], 1, "not UTF-8 text"),
        ([""], 1, "the file is empty"),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, where, problem):
    path = table(tmp_path, *lines)
    with pytest.raises(UserError, match=problem) as caught:
        tsv_utterances(tmp_path)
    assert f"{path}:{where}: " in str(caught.value)
    assert "morning" not in str(caught.value)


def test_all_bad_lines_are_counted(tmp_path):
    table(tmp_path, HEADER, *["u\tx", LINE] * 5)
    with pytest.raises(UserError, match="^5 faults: .* and 2 more; correct"):
        tsv_utterances(tmp_path)


def test_missing_table(tmp_path):
    with pytest.raises(UserError, match="check the data folder"):
        tsv_utterances(tmp_path)


def test_utterances_of_a_table(tmp_path):
    table(tmp_path, HEADER, LINE, "u2\ta/u2.opus\t\ttest\t2\t")
    assert tsv_utterances(tmp_path) == {
        "train": [
            Utterance(
                "u1", str(tmp_path / "a/u1.opus"), 1.5, "good morning", "s1"
            )
        ],
        "test": [Utterance("u2", str(tmp_path / "a/u2.opus"), 2.0)],
    }
