"""Each recipe's parser finds its splits, in trees of the published layout."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.dataio.prepare import UTTERANCE_COLUMNS, prepare_manifests
from nar_asr_lobes.errors import UserError

RECIPES = Path(__file__).parents[2] / "recipes"


def parser(folder, module):
    """Load a recipe's `prepare`, as its train.py does."""
    path = RECIPES / folder / f"{module}.py"
    spec = importlib.util.spec_from_file_location(module, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.prepare


librispeech = parser("LibriSpeech", "librispeech_prepare")
arabic = parser("ArabicCommands", "arabiccommands_prepare")
speechocean = parser("Speechocean762", "speechocean762_prepare")


def make_librispeech(root, split, speaker, texts):
    """Write one chapter; return its folder."""
    folder = root / split / str(speaker) / "7"
    folder.mkdir(parents=True)
    lines = []
    for number, text in enumerate(texts):
        name = f"{speaker}-7-{number:04d}"
        soundfile.write(folder / f"{name}.flac", np.zeros(8000), 16000)
        lines.append(f"{name} {text}\n")
    (folder / f"{speaker}-7.trans.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def libri(tmp_path):
    """Return a tree with three speakers and the options that fit it."""
    make_librispeech(tmp_path, "train-clean-100", 1, ["A B", "C"])
    make_librispeech(tmp_path, "dev-clean", 2, ["D"])
    make_librispeech(tmp_path, "test-clean", 3, ["E", "F G"])
    options = {
        "train": ["train-clean-100"],
        "dev": ["dev-clean"],
        "test": ["test-clean"],
        "pool": ["train-clean-100"],
    }
    return tmp_path, options


def test_librispeech(libri, tmp_path):
    root, options = libri
    splits = librispeech(str(root), **options)
    assert [(u.id, u.text, u.speaker) for u in splits["train"]] == [
        ("1-7-0000", "A B", "1"),
        ("1-7-0001", "C", "1"),
    ]
    assert splits["train"][0].duration == 0.5
    assert Path(splits["train"][0].audio).is_file()
    assert [u.text for u in splits["dev"]] == ["D"]
    assert splits["test"] == splits["test-clean"]
    assert [(u.id, u.text) for u in splits["pool"]] == [
        ("1-7-0000", None),
        ("1-7-0001", None),
    ]
    assert set(splits) == {"train", "dev", "test", "test-clean", "pool"}
    prepare_manifests(splits, tmp_path / "save", root, "english")


def test_librispeech_joins_folders_and_leaves_splits_out(libri):
    root, options = libri
    chapter = make_librispeech(root, "unlab-600", 9, ["X"])
    (chapter / "9-7.trans.txt").unlink()
    make_librispeech(root, "test-other", 4, ["H"])
    splits = librispeech(
        str(root),
        train=[],
        dev=[],
        test=["test-clean", "test-other"],
        pool=["dev-clean", "unlab-600"],
    )
    assert set(splits) == {"test", "test-clean", "test-other", "pool"}
    assert [u.id[0] for u in splits["test"]] == ["3", "3", "4"]
    assert [u.id for u in splits["pool"]] == [
        "dev-clean/2/7/2-7-0000",
        "unlab-600/9/7/9-7-0000",
    ]


def test_librispeech_default_splits_are_the_published_ones(libri):
    with pytest.raises(UserError, match="train-clean-360: no audio found;"):
        librispeech(str(libri[0]))


def test_librispeech_names_every_transcript_and_file_left_alone(libri):
    root, options = libri
    folder = root / "train-clean-100" / "1" / "7"
    (folder / "1-7-0001.flac").rename(folder / "1-7-0002.flac")
    with (folder / "1-7.trans.txt").open("a") as file:
        file.write("1-7-0003\n")
    with pytest.raises(UserError) as caught:
        librispeech(str(root), **options)
    message = str(caught.value)
    assert message.startswith("4 faults: ")
    assert "1-7.trans.txt:3: no text" in message
    assert "1-7-0002.flac: no transcript" in message


def test_librispeech_transcripts_of_other_programs(libri):
    """A byte-order mark, tabs, blank lines, odd characters, Windows."""
    root, options = libri
    file = root / "test-clean" / "3" / "7" / "3-7.trans.txt"
    lines = ["\ufeff3-7-0000\tE", "", "3-7-0001 F \u2028\x85\x0b \tG", " "]
    file.write_bytes("\r\n".join(lines).encode())
    rows = librispeech(str(root), **options)["test"]
    texts = [row.text.split() for row in rows]
    assert texts == [["E"], ["F", "G"]]


def test_librispeech_goes_on_without_damaged_and_hidden_files(libri, caplog):
    root, options = libri
    folder = root / "train-clean-100" / "1" / "7"
    (folder / "1-7-0000.flac").write_bytes(b"garbage")
    for name in ("._1-7-0001.flac", "._1-7.trans.txt"):
        (folder / name).write_bytes(b"\0\5\26\7\xff")
    splits = librispeech(str(root), **options)
    assert [u.id for u in splits["train"]] == ["1-7-0001"]
    assert [u.id for u in splits["pool"]] == ["1-7-0001"]
    assert "1 utterance has faults" in caplog.text
    assert "audio 1)" in caplog.text


def test_chapters_of_any_length_and_depth_join_the_pool(libri, tmp_path):
    """Two books with equal names, one of them longer than the limit."""
    root, options = libri
    rng = np.random.default_rng(0)
    for book, seconds in (("9/one", 7), ("9/two/part", 1)):
        folder = root / "large" / book
        folder.mkdir(parents=True)
        wav = 0.1 * rng.standard_normal(seconds * 16000)
        soundfile.write(folder / "chapter01.flac", wav, 16000)
    options["pool"] = ["train-clean-100", "large"]
    splits = librispeech(str(root), **options)
    saved = prepare_manifests(splits, tmp_path / "s", root, max_seconds=3)
    rows = read_manifest(saved["pool"])[2:]
    *pieces, other = rows
    assert other.id == "large/9/two/part/chapter01" and other.start is None
    assert {u.id[:21] for u in pieces} == {"large/9/one/chapter01"}
    assert len({u.id for u in rows}) == len(rows) >= 4
    ends = [u.start + u.duration for u in pieces]
    assert [u.start for u in pieces] == [0.0, *ends[:-1]] and ends[-1] == 7.0
    assert max(u.duration for u in pieces) <= 3


def test_librispeech_refuses_an_id_with_two_transcripts(libri):
    root, options = libri
    file = root / "dev-clean" / "2" / "7" / "2-7.trans.txt"
    file.write_text("2-7-0000 D\n2-7-0000 OTHER\n")
    with pytest.raises(UserError, match="2-7.trans.txt:2: no text, or an id"):
        librispeech(str(root), **options)
    file.write_bytes(b"2-7-0000 \xff\n")
    with pytest.raises(UserError, match="not UTF-8 text"):
        librispeech(str(root), **options)


def make_table(folder, rows):
    """Write utterances.tsv from (id, speaker, split, text)."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(UTTERANCE_COLUMNS)]
    lines += [
        f"{name}\taudio/{name}.opus\t{speaker}\t{split}\t1.0\t{text}"
        for name, speaker, split, text in rows
    ]
    (folder / "utterances.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_arabic_commands(tmp_path):
    rows = [
        ("a", "1", "train", "خلف"),
        ("b", "2", "val", "أمام"),
        ("c", "3", "test", "خلف"),
    ]
    splits = arabic(str(make_table(tmp_path, rows)))
    found = {name: [u.id for u in rows] for name, rows in splits.items()}
    assert found == {"train": ["a"], "dev": ["b"], "test": ["c"], "pool": ["a"]}
    assert splits["train"][0].text == "خلف" and splits["pool"][0].text is None
    make_table(tmp_path, rows[:1])
    with pytest.raises(UserError, match="split 'val' is missing"):
        arabic(str(tmp_path))


@pytest.fixture
def ocean(tmp_path):
    """Return a small speechocean762 with a data set beside it."""
    rows = [
        (f"{split}{speaker}", f"{split}{speaker}", split, f"text {speaker}")
        for split, speakers in (("train", range(20)), ("test", range(15, 30)))
        for speaker in speakers
    ]
    make_table(
        tmp_path / "yoruba",
        [("y", "y1", "test", "o"), ("train0", "y1", "", "")],
    )
    return make_table(tmp_path / "speechocean762", rows)


def test_speechocean_development_speakers(ocean):
    splits = speechocean(str(ocean), dev_speakers=4)
    speakers = {k: {u.speaker for u in v} for k, v in splits.items()}
    assert len(speakers["dev"]) == 4 and len(speakers["train"]) == 16
    assert not speakers["dev"] & speakers["train"]
    assert not speakers["test"] & (speakers["dev"] | speakers["train"])
    again = speechocean(str(ocean), dev_speakers=4)
    assert again == splits
    fewer = speechocean(str(ocean), dev_speakers=3)
    assert {u.speaker for u in fewer["dev"]} < speakers["dev"]


def test_speechocean_choice_is_the_same_everywhere(ocean):
    splits = speechocean(str(ocean), dev_speakers=4)
    found = sorted(u.speaker for u in splits["dev"])
    assert found == ["train0", "train1", "train14", "train5"]


def test_speechocean_unseen_sentences(ocean):
    splits = speechocean(str(ocean), dev_speakers=4)
    assert len(splits["test"]) == 15 and len(splits["test_unseen"]) == 10
    seen = {u.text for u in [*splits["train"], *splits["dev"]]}
    assert not seen & {u.text for u in splits["test_unseen"]}
    assert {u.text for u in splits["test"]} & seen


def test_speechocean_pool(ocean):
    splits = speechocean(str(ocean), dev_speakers=4)
    pool = splits["pool"]
    assert [u.id for u in pool[-2:]] == ["yoruba-y", "yoruba-train0"]
    assert len(pool) == 22 == len({u.id for u in pool})
    assert all(u.text is None for u in pool)
    tested = {u.speaker for u in splits["test"]}
    assert not tested & {u.speaker for u in pool}
    prepare_manifests(splits, ocean / "save", ocean)


def test_speechocean_pool_never_has_a_test_speaker(ocean):
    with (ocean / "utterances.tsv").open("a") as file:
        file.write("x\ta.opus\ttest20\ttrain\t1.0\ttext\n")
    splits = speechocean(str(ocean), dev_speakers=4)
    assert "test20" not in {u.speaker for u in splits["pool"]}


def test_speechocean_sentences_are_spoken(ocean):
    """Those of train and of kathleen_en, in lower case, once, and no others."""
    pytest.importorskip("espeakng_loader", reason="extra demo not installed")
    rows = [("k1", "k", "", "Text 8"), ("k2", "k", "", "Two, Birds!")]
    make_table(ocean.parent / "kathleen_en", rows)
    options = {"dev_speakers": 4, "spoken_folder": str(ocean / "spoken")}
    splits = speechocean(str(ocean), **options)
    wanted = [u.text for u in splits["train"]] + ["two birds"]
    assert [u.text for u in splits["spoken"]] == wanted
    assert all(Path(u.audio).is_file() for u in splits["spoken"])
    dev_only = {u.text for u in splits["dev"]} - set(wanted)
    assert len(dev_only) == 4
    assert speechocean(str(ocean), **options) == splits


@pytest.mark.parametrize("count", [0, 20, 99])
def test_speechocean_dev_speakers_are_limited(ocean, count):
    with pytest.raises(
        UserError, match="train has 20 speakers; choose 1 to 19"
    ):
        speechocean(str(ocean), dev_speakers=count)


@pytest.mark.parametrize(
    "options", [{"dev_speakers": "many"}, {"spoken_folder": 5}]
)
def test_speechocean_options_of_another_kind(ocean, options):
    [(name, value)] = options.items()
    with pytest.raises(UserError, match=f"^{name} is {value!r}; "):
        speechocean(str(ocean), **options)


def test_speechocean_missing_split(ocean):
    make_table(ocean, [("a", "1", "train", "x"), ("b", "2", "train", "x")])
    with pytest.raises(UserError, match="split 'test' is missing"):
        speechocean(str(ocean), dev_speakers=1)


@pytest.mark.parametrize("prepare", [arabic, speechocean])
def test_missing_folder(tmp_path, prepare):
    with pytest.raises(UserError, match="utterances.tsv: cannot be read"):
        prepare(str(tmp_path / "no"))
