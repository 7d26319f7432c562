"""One corpus described in every form gives the same utterances."""

import gzip
import json
import math
from pathlib import Path

import pytest

from nar_asr_lobes.dataio.formats.detect import read_corpus
from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.errors import UserError

# id, file, start, seconds, text, speaker, gender
CLIPS = [
    ("u1", "wav/a.wav", None, 2.0, "one, two", "s1", "f"),
    ("u2", "wav/b c.wav", None, 1.5, 'say "é"', "s2", "m"),
]
PARTS = [
    ("p1", "wav/a.wav", 0.25, 0.5, "one", "s1", "f"),
    ("p2", "wav/a.wav", 1.0, 0.75, "two", "s1", "f"),
]


@pytest.fixture
def corpus(tmp_path):
    """A folder with two audio files; nothing opens them."""
    (tmp_path / "wav").mkdir()
    for name in ("a.wav", "b c.wav"):
        (tmp_path / "wav" / name).touch()
    return tmp_path


def write(path: Path, *lines) -> Path:
    """Write lines of text, or records as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        (x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines
    )
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def expected(folder, clips, durations=True):
    """Utterances as tuples, for a duration that is NaN equals none."""
    return [
        (i, str(folder / a), d if durations else None, t, s, b)
        for i, a, b, d, t, s, _ in clips
    ]


def found(splits, name=""):
    return [
        (
            row.id,
            row.audio,
            None if math.isnan(row.duration) else row.duration,
            row.text,
            row.speaker,
            row.start,
        )
        for row in splits[name]
    ]


def lines(rows):
    return [row.where for row in rows]


def test_csv_with_the_names_of_speechbrain(corpus):
    write(
        corpus / "data.csv",
        "ID,duration,wav,spk_id,gender,wrd",
        'u1,2.0,wav/a.wav,s1,f,"one, two"',
        'u2,1.5,wav/b c.wav,s2,m,"say ""é"""',
    )
    splits = read_corpus(corpus)
    assert found(splits) == expected(corpus, CLIPS)
    assert [x.groups for x in splits[""]] == [{"gender": "f"}, {"gender": "m"}]


def test_tsv_with_splits_in_a_column(corpus):
    lines = [
        f"{i}\t{a}\t{d}\t{t}\t{s}\t{split}"
        for (i, a, _, d, t, s, _), split in zip(
            CLIPS, ("train", "val"), strict=True
        )
    ]
    columns = "id\taudio\tduration\ttext\tspeaker\tsplit"
    write(corpus / "utterances.tsv", columns, *lines)
    splits = read_corpus(corpus)
    assert found(splits, "train") == expected(corpus, CLIPS[:1])
    assert found(splits, "dev") == expected(corpus, CLIPS[1:])


def test_nemo_manifests_with_offsets(corpus):
    lines = [
        {
            "audio_filepath": str(corpus / a),
            "offset": start,
            "duration": seconds,
            "text": text,
            "speaker": speaker,
        }
        for _, a, start, seconds, text, speaker, _ in PARTS
    ]
    write(corpus / "manifests" / "train_manifest.jsonl", *lines)
    write(corpus / "manifests" / "validation.jsonl", lines[0])
    splits = read_corpus(corpus / "manifests")
    assert set(splits) == {"train", "dev"}
    wanted = [x[1:] for x in expected(corpus, PARTS)]
    assert [x[1:] for x in found(splits, "train")] == wanted
    ids = [row.id for row in splits["train"]]
    assert ids[0].endswith("wav/a-0.25") and len(set(ids)) == 2


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_audiofolder_with_a_folder_for_each_split(tmp_path, name):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.wav").touch()
        record = {"file_name": "a.wav", "transcription": f"in {split}"}
        lines = ["file_name,transcription", f"a.wav,in {split}"]
        rows = [record] if name.endswith("jsonl") else lines
        write(tmp_path / split / name, *rows)
    splits = read_corpus(tmp_path)
    audio = str(tmp_path / "test" / "a.wav")
    assert found(splits, "test") == [("a", audio, None, "in test", None, None)]
    assert set(splits) == {"train", "test"}


def test_audiofolder_with_one_table(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        (tmp_path / "data" / split / "a.wav").touch()
    lines = [f"data/{x}/a.wav,in {x}" for x in ("train", "test")]
    write(tmp_path / "metadata.csv", "file_name,transcription", *lines)
    rows = read_corpus(tmp_path)[""]
    assert [row.id for row in rows] == ["data/train/a", "data/test/a"]


def kaldi(folder, root, segments=False):
    """Write a Kaldi data folder; one file is decompressed by a command."""
    clips = PARTS if segments else CLIPS
    files = dict(x[:2] for x in clips)
    if segments:
        files = {"rec": "wav/a.wav"}
        write(folder / "segments", "p1 rec 0.25 0.75", "p2 rec 1.0 1.75")
    write(folder / "wav.scp", *(f"{i} {a}" for i, a in files.items()))
    write(folder / "text", *(f"{x[0]} {x[4]}" for x in clips))
    write(folder / "utt2spk", *(f"{x[0]} {x[5]}" for x in clips))
    write(folder / "spk2gender", *(f"{x[5]} {x[6]}" for x in CLIPS))
    return folder


@pytest.mark.parametrize("segments", [False, True])
def test_kaldi(corpus, segments):
    folder = kaldi(corpus / "data" / "train", corpus, segments)
    clips = PARTS if segments else CLIPS
    wanted = expected(corpus, clips, durations=segments)
    assert found(read_corpus(folder)) == wanted
    kaldi(corpus / "data" / "dev", corpus, segments)
    splits = read_corpus(corpus / "data")
    assert found(splits, "train") == found(splits, "dev") == wanted
    assert splits["train"][0].groups == {"gender": "f"}
    table = corpus / "data" / "dev" / ("segments" if segments else "wav.scp")
    assert lines(splits["dev"]) == [f"{table}:1", f"{table}:2"]


def test_kaldi_with_flac_commands_and_durations(corpus):
    (corpus / "wav" / "a.flac").touch()
    audio = corpus / "wav" / "a.flac"
    write(corpus / "wav.scp", f"u1 flac -c -d -s {audio} |")
    write(corpus / "utt2dur", "u1 2.5")
    rows = found(read_corpus(corpus))
    assert rows == [("u1", str(audio), 2.5, None, None, None)]


def recording(name, file, **more):
    return {
        "id": name,
        "sources": [{"type": "file", "channels": [0], "source": file}],
        "sampling_rate": 16000,
        "num_samples": 32000,
        "duration": 2.0,
        "channel_ids": [0],
        **more,
    }


def supervision(clip, start, name="rec"):
    i, _, _, seconds, text, speaker, gender = clip
    return {
        "id": i,
        "recording_id": name,
        "start": start,
        "duration": seconds,
        "channel": 0,
        "text": text,
        "language": "English",
        "speaker": speaker,
        "gender": gender,
    }


def cut(**more):
    return {
        "id": "cut1",
        "start": 0.25,
        "duration": 1.5,
        "channel": 0,
        "supervisions": [
            supervision(PARTS[0], 0.0),
            supervision(PARTS[1], 0.75),
        ],
        "recording": recording("rec", "wav/a.wav"),
        "type": "MonoCut",
        **more,
    }


def test_lhotse_cuts(corpus):
    write(corpus / "my_cuts_train.jsonl.gz", cut())
    splits = read_corpus(corpus)
    assert found(splits) == expected(corpus, PARTS)
    groups = {"gender": "f", "language": "English"}
    assert splits[""][0].groups == groups


def test_lhotse_recordings_and_supervisions(corpus):
    folder = corpus / "data" / "manifests"
    for split in ("train", "dev"):
        rows = [supervision(x, x[2]) for x in PARTS]
        write(folder / f"my_supervisions_{split}.jsonl.gz", *rows)
        rows = [recording("rec", "wav/a.wav")]
        write(folder / f"my_recordings_{split}.jsonl.gz", *rows)
    splits = read_corpus(folder)
    assert found(splits, "train") == found(splits, "dev")
    assert found(splits, "dev") == expected(corpus, PARTS)
    table = folder / "my_supervisions_dev.jsonl.gz"
    assert lines(splits["dev"]) == [f"{table}:1", f"{table}:2"]


def test_manifests_of_this_project(corpus):
    rows = [Utterance(i, a, d, t, s, b) for i, a, b, d, t, s, _ in CLIPS]
    write_manifest(corpus / "m" / "train.jsonl", rows, corpus)
    write_manifest(corpus / "m" / "dev.jsonl", rows[:1], corpus)
    splits = read_corpus(corpus / "m")
    assert found(splits, "train") == expected(corpus, CLIPS)
    table = corpus / "m" / "train.jsonl"  # with a header
    assert lines(splits["train"]) == [f"{table}:2", f"{table}:3"]


def test_audio_with_a_text_file_each(corpus, caplog):
    write(corpus / "wav" / "a.txt", "one,", " two")
    write(corpus / "wav" / "alone.txt", "three")
    rows = found(read_corpus(corpus))
    assert rows == [
        ("wav/a", str(corpus / "wav/a.wav"), None, "one, two", "wav", None),
        ("wav/b c", str(corpus / "wav/b c.wav"), None, None, "wav", None),
    ]
    assert "1 texts have no audio file; left out" in caplog.text
    assert "alone" not in caplog.text


def test_files_and_columns_by_name(corpus):
    write(corpus / "a.csv", "clip,prompt,text", "wav/a.wav,one,x")
    write(corpus / "b.csv", "clip,prompt,text", "wav/b c.wav,two,x")
    splits = read_corpus(
        corpus,
        {"train": ["a.csv"], "test-far": "b.csv"},
        {"audio": "clip", "text": "prompt"},
    )
    assert [x.text for x in splits["train"]] == ["one"]
    assert [x.text for x in splits["test-far"]] == ["two"]


AMBIGUOUS = {
    "a.csv: its name does not tell one split": ["a.csv", "train.csv"],
    "train.tsv: its name .* split, as train.csv": ["train.csv", "train.tsv"],
    "has a Kaldi data folder and tables; name": ["wav.scp", "train.csv"],
    "has recordings only": ["recordings.jsonl"],
    "holds no description of a corpus": ["notes.md"],
}


@pytest.mark.parametrize("problem", AMBIGUOUS)
def test_ambiguous_places(corpus, problem):
    for name in AMBIGUOUS[problem]:
        write(corpus / name, recording("rec", "wav/a.wav"))
    with pytest.raises(UserError, match=problem):
        read_corpus(corpus)


FAULTS = {
    "columns 'text' and 'sentence' could both be the text; .*{text: text}": (
        "a.csv",
        "audio,text,sentence",
        "wav/a.wav,one,two",
    ),
    "a.csv:1: no column names the audio; it has name, text": (
        "a.csv",
        "name,text",
        "wav/a.wav,one",
    ),
    "a.csv:2: its audio is not there": ("a.csv", "audio,text", "SECRET,one"),
    "2 faults: a.csv:3: the audio is missing, a.csv:4: the duration is not a": (
        "a.csv",
        "audio,duration,text",
        "wav/a.wav,1,one",
        ",1,two",
        "wav/b.wav,long,SECRET",
    ),
    "a.csv:2: the duration is 0 s": (
        "a.csv",
        "audio,duration",
        "wav/a.wav,0",
    ),
    "a.csv:2: it has a start, but neither": (
        "a.csv",
        "audio,start",
        "wav/a.wav,1",
    ),
    "a.csv:3: its id stands in line 2 too": (
        "a.csv",
        "audio,text",
        "wav/a.wav,one",
        "wav/a.wav,two",
    ),
    "a.jsonl:1: the text is not a string": (
        "a.jsonl",
        {"audio": "wav/a.wav", "text": ["SECRET"]},
    ),
    "wav.scp:2: is a command or a part": (
        "wav.scp",
        "u1 wav/a.wav",
        "u2 sph2pipe -f wav SECRET.sph |",
    ),
    "wav.scp:1: is a command or a part": ("wav.scp", "u1 SECRET.ark:123"),
    "wav.scp:2: its key stands there twice": (
        "wav.scp",
        "u1 wav/a.wav",
        "u1 wav/a.wav",
    ),
    "c.jsonl:1: is a MixedCut": (
        "c.jsonl",
        {"id": "cut1", "tracks": [], "type": "MixedCut"},
    ),
    "c.jsonl:1: has no recording": ("c.jsonl", cut(recording=None)),
    "c.jsonl:1: its recording has several": (
        "c.jsonl",
        cut(recording=recording("rec", "wav/a.wav", channel_ids=[0, 1])),
    ),
    "c.jsonl:1: a key is missing": ("c.jsonl", cut(start=None)),
}


@pytest.mark.parametrize("problem", FAULTS)
def test_one_sentence_with_file_and_line(corpus, problem):
    name, *lines = FAULTS[problem]
    write(corpus / name, *lines)
    with pytest.raises(UserError) as caught:
        read_corpus(corpus)
    message = str(caught.value).replace(f"{corpus}/", "")
    start, _, end = problem.partition(".*")
    assert start in message and end in message
    assert "SECRET" not in message


@pytest.mark.parametrize(
    ("name", "lines", "problem"),
    [
        ("segments", ["p1 rec 0 1", "p2 no 0 1"], ":2: its recording is not"),
        ("segments", ["p1 rec 1 1", "p2 rec 0 1"], ":1: its end is not behind"),
        ("segments", ["p1 rec x 1", "p2 rec 0 1"], ":1: is not UTTERANCE REC"),
        ("text", ["p1 one", "p2 two", "p3 SECRET"], ":3: the utterance has no"),
        ("text", ["p1 one"], "segments:2: the utterance has no line in text"),
        ("utt2dur", ["p1 long"], ":1: is not UTTERANCE SECONDS"),
    ],
)
def test_faults_of_a_kaldi_folder(corpus, name, lines, problem):
    folder = kaldi(corpus / "kaldi", corpus, segments=True)
    write(folder / name, *lines)
    with pytest.raises(UserError) as caught:
        read_corpus(folder)
    assert problem in str(caught.value)
    assert "SECRET" not in str(caught.value)
