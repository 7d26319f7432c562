"""Every form of texts is recognised and matched; faults name no text or id."""

import json

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.texts import read_paired, read_texts

TEXTS = {"u-1": "no pain", "u-2": "two  words", "u-3": ""}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def folder(tmp_path):
    (tmp_path / "texts").mkdir()
    for name, text in TEXTS.items():
        write(tmp_path / "texts" / f"{name}.txt", text.replace("  ", "\n"))
    write(tmp_path / "texts" / "notes.md", "no text")
    return tmp_path / "texts"


def jsonl(tmp_path):
    rows = [{"data_root": "/x"}]
    rows += [{"id": k, "text": v, "speaker": 7} for k, v in TEXTS.items()]
    lines = [json.dumps(row) for row in rows]
    return write(tmp_path / "t.jsonl", "\n".join(lines) + "\n")


def tsv(tmp_path):
    rows = [f"{key}\t7\t{text}" for key, text in TEXTS.items()]
    return write(tmp_path / "t.tsv", "\n".join(["id\tspeaker\ttext", *rows]))


def tabbed(tmp_path):
    rows = [f"{key}\t{text}\r\n" for key, text in TEXTS.items()]
    return write(tmp_path / "t.txt", "".join(rows))


def kaldi(tmp_path):
    rows = [f"{key} {text}\n" for key, text in TEXTS.items()]
    return write(tmp_path / "text", "".join(rows))


FORMS = (folder, jsonl, tsv, tabbed, kaldi)


@pytest.mark.parametrize("form", FORMS)
def test_forms_with_ids(tmp_path, form):
    found = read_texts(form(tmp_path))
    squeezed = {key: text.split() for key, text in found.texts.items()}
    assert squeezed == {key: text.split() for key, text in TEXTS.items()}
    assert found.matched_by == ("file name" if form is folder else "id")
    if form in (jsonl, tsv):
        assert found.column("speaker") == ["7"] * 3


@pytest.mark.parametrize(
    "text",
    [
        "b12 is low",  # one line
        "b12 is low\nnone",  # a first word without a digit
        "b12 is low\nb12 is high",  # the same first word
        "one two\nthree",
        "12 mg\n15 mg",  # numbers are no names
    ],
)
def test_plain_lines_keep_their_first_words(tmp_path, text):
    found = read_texts(write(tmp_path / "a.txt", text))
    assert found.matched_by == "line number"
    assert list(found.texts.values()) == text.split("\n")


@pytest.mark.parametrize("form", FORMS)
def test_any_two_forms_with_ids_match(tmp_path, form):
    other = write(tmp_path / "other.txt", "u-2\tx\nu-9\ty\n")
    paired = read_paired(form(tmp_path), other)
    assert paired.hypotheses == [["", "x", ""]]
    assert paired.missing == [["u-1", "u-3"]]
    assert paired.unused == [["u-9"]]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "message"),
    [
        ("a\nb", "a", "has 2 lines, but .* has 1; give one hypothesis a line"),
        ("a", "u1\ta", "is matched by line number, but .* by id; give both"),
        ("secret\ta", "other\ta", "shares no id with"),
        ("secret\ta\nsecret\tb", "secret\ta", "txt:2: has the id of line 1"),
        ("", "", "holds no text"),
        ("\ta\nu\tb", "u\ta", "txt:1: no 'id' and 'text'"),
    ],
)
def test_faults(tmp_path, reference, hypothesis, message):
    paths = [
        write(tmp_path / f"{name}.txt", text)
        for name, text in (("ref", reference), ("hyp", hypothesis))
    ]
    with pytest.raises(UserError, match=message) as caught:
        read_paired(*paths)
    # pytest names the folder after the parameters.
    assert "secret" not in str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("line", "fault"),
    [("{", "2: no"), ("[]", "2: no"), ('{"id": "a"}', "2: no")],
)
def test_bad_json_lines(tmp_path, line, fault):
    path = write(tmp_path / "a.jsonl", f'{{"id": "b", "text": ""}}\n{line}\n')
    with pytest.raises(UserError, match=fault):
        read_texts(path)


def test_an_unknown_column_names_those_there_are(tmp_path):
    with pytest.raises(UserError, match=r"'age' \(columns: speaker\)"):
        read_texts(tsv(tmp_path)).column("age")
    with pytest.raises(UserError, match=r"columns: none\)"):
        read_texts(kaldi(tmp_path)).column("age")


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_texts(tmp_path / "nowhere.tsv")


@pytest.mark.parametrize(
    "text", ["take {a/b now", "take a/b} now", "take {a/{b/c}} now"]
)
@pytest.mark.parametrize(
    ("name", "line", "place"),
    [
        ("r.txt", "{}", "r.txt:2: "),
        ("r.txt", "u-2\t{}", "r.txt:2: "),
        ("r.tsv", "u-2\t{}", "r.tsv:2: "),
        ("texts", None, "u-2.txt: "),
    ],
)
def test_a_brace_without_its_partner_is_refused(
    tmp_path, text, name, line, place
):
    if line is None:
        reference = folder(tmp_path)
        write(reference / "u-2.txt", text)
    else:
        head = "id\ttext" if name.endswith("tsv") else "u-1\tno {pain/ache}"
        head = head if "\t" in line else "no {pain/ache} or [{x}]"
        reference = write(tmp_path / name, f"{head}\n{line.format(text)}\n")
    with pytest.raises(UserError, match=f"^.*{place}has a brace .*; write"):
        read_paired(reference, reference)
