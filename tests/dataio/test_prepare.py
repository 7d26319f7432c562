"""A parser's rows become manifests; bad tables and ids are named."""

import logging
import os

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.dataio.checks import check_utterances
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.formats.tables import read_tsv
from nar_asr_lobes.dataio.manifest import Utterance, read_manifest
from nar_asr_lobes.dataio.prepare import (
    UTTERANCE_COLUMNS,
    _cut_long,
    collect_left_out,
    measure_files,
    prepare_manifests,
    tsv_utterances,
    visible_files,
)
from nar_asr_lobes.errors import UserError
from tests.recipes.running import call
from tests.training.tiny_recipe import make_corpus, prepare, write_yamls

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
    assert message.startswith("2 faults: split 'train': utterance 3 has the id")
    assert "utterance 4 has the id of utterance 2; give" in message
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
    assert rows[1].where == f"{path}:4"


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


def test_a_missing_split_is_named_with_those_that_are_there(tmp_path):
    path = table(tmp_path, HEADER, LINE)
    assert list(tsv_utterances(tmp_path, ["train"])) == ["train"]
    message = f"^{path}: split 'dev' is missing; it has train, expected dev, x$"
    with pytest.raises(UserError, match=message):
        tsv_utterances(tmp_path, ["dev", "x"])


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


def test_age_and_gender_of_a_table_are_groups(tmp_path):
    header = f"{HEADER}\tage\tgender\tscore"
    table(tmp_path, header, f"{LINE}\t9\tf\t3", f"u2{LINE[2:]}\t\tm\t3")
    found = [row.groups for row in tsv_utterances(tmp_path)["train"]]
    assert found == [{"age": "9", "gender": "f"}, {"gender": "m"}]


RATE = 16000


def record(path, seconds, rate=RATE, channels=1):
    """Write syllables of noise with pauses between them."""
    rng = np.random.default_rng(int(seconds * 10))
    wav = 0.1 * rng.standard_normal((round(seconds * rate), channels))
    wav *= np.sin(np.arange(len(wav)) / rate * 4)[:, None] > -0.7
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate)
    return path


@pytest.fixture
def books(tmp_path):
    """Two books with equal names, hidden files, one damaged file."""
    record(tmp_path / "one" / "01.flac", 7.3)
    record(tmp_path / "deep" / "er" / "one" / "01.WAV", 1.5, 8000, 2)
    record(tmp_path / "two" / "01.flac", 6.7, 22050)
    cut = tmp_path / "two" / "02.flac"
    record(cut, 9)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "two" / "03.flac").write_bytes(b"no sound" * 50)
    (tmp_path / "one" / "._01.flac").write_bytes(b"\0\5\26\7" * 50)
    record(tmp_path / ".Trashes" / "09.flac", 1)
    (tmp_path / "one" / "notes.txt").write_text("not audio")
    return tmp_path


def test_hidden_files_and_folders_are_passed_over(books):
    found = [p.relative_to(books).as_posix() for p in visible_files(books)]
    assert found == [
        "deep/er/one/01.WAV",
        "one/01.flac",
        "two/01.flac",
        "two/02.flac",
        "two/03.flac",
    ]
    assert [p.name for p in visible_files(books, [".txt"])] == ["notes.txt"]


def test_ids_are_paths_and_what_cannot_be_read_is_named(books, caplog):
    with collect_left_out() as left_out:
        rows = measure_files(visible_files(books), books)
    assert [(u.id, u.duration) for u in rows] == [
        ("deep/er/one/01", 1.5),
        ("one/01", 7.3),
        ("two/01", 6.7),
        ("two/02", 9.0),  # its header is whole
    ]
    assert "1 utterance has faults" in caplog.text
    assert "audio 5)" in caplog.text and "two/03" not in caplog.text
    assert [x.id for x in left_out] == ["two/03"]


def test_a_name_that_is_no_text_is_named(tmp_path, caplog):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    with collect_left_out() as left_out:
        assert measure_files(visible_files(tmp_path), tmp_path) == []
    assert "has a name that is not UTF-8" in caplog.text
    assert [x.id for x in left_out] == ["'caf\\udce9'"]


def test_stretches_cover_a_long_file_and_do_not_overlap(books, caplog):
    rows = measure_files(visible_files(books), books)
    files = os.listdir(books / "one")
    with collect_left_out() as left_out:
        cut = _cut_long(rows, 3, books)
    assert os.listdir(books / "one") == files
    assert cut[0] == rows[0]  # short enough
    assert "audio 4)" in caplog.text  # damaged behind its header: left out
    assert [x.id for x in left_out] == ["two/02"]
    for whole in rows[1:3]:
        pieces = [u for u in cut if u.audio == whole.audio]
        assert len(pieces) >= 3
        assert {u.id for u in pieces} == {
            f"{whole.id}-{u.start:.2f}" for u in pieces
        }
        wavs = [read_audio(u.audio, **u.stretch) for u in pieces]
        assert [len(wav) / RATE for wav in wavs] == [u.duration for u in pieces]
        assert all(0.3 <= u.duration <= 3 for u in pieces)
        np.testing.assert_allclose(
            np.concatenate(wavs), read_audio(whole.audio), atol=1e-4
        )
    assert check_utterances(cut, max_seconds=3, read=True) == (cut, [])


def test_a_dataset_reads_the_stretch_only(books):
    row = Utterance("a", str(books / "one" / "01.flac"), 1.5, start=2.25)
    whole = read_audio(row.audio)
    for cache in (False, True):
        dataset = SpeechDataset([row], cache=cache)
        batch = dataset.batch([Sample(0, 0)])
        np.testing.assert_allclose(
            batch.wavs[0], whole[36000:60000], atol=1 / 32767
        )


def test_only_splits_without_transcripts_are_cut(books):
    audio = "one/01.flac"
    splits = {
        "pool": [Utterance("a", audio, 7.3), Utterance("b", "b.flac", 1.0)],
        "dev": [Utterance("a", audio, 7.3, "x"), Utterance("b", audio, 7.3)],
    }
    paths = prepare_manifests(splits, books / "save", books, max_seconds=3)
    pool = read_manifest(paths["pool"])
    assert len(pool) >= 4 and pool[-1].start is None
    assert {u.audio for u in pool[:-1]} == {str(books / audio)}
    assert [u.start for u in read_manifest(paths["dev"])] == [None, None]


def test_nothing_is_cut_into_stretches_below_two_seconds(books):
    rows = [Utterance("a", "one/01.flac", 7.3)]
    assert _cut_long(rows, 1.5, books) == rows


def test_one_long_recording_is_a_pool_to_train_on(tmp_path, monkeypatch):
    monkeypatch.chdir(write_yamls(tmp_path))
    data = make_corpus(tmp_path / "data")
    record(data / "chapter.flac", 14.5)

    def pool_of_one(data_folder):
        files = [data / "chapter.flac"]
        pool = measure_files(files, data_folder)
        return {"train": pool, "dev": prepare(data_folder)["dev"]}

    outcome = call(
        [
            tmp_path / "pretrain.yaml",
            f"--data_folder={data}",
            f"--output_folder={tmp_path / 'out'}",
        ],
        pool_of_one,
    )
    assert outcome.code == 0, outcome.err
    rows = read_manifest(tmp_path / "out" / "checked" / "train.jsonl")
    assert sum(u.duration for u in rows) == 14.5
    assert (tmp_path / "out" / "left_out.txt").read_text() == ""
