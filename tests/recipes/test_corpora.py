"""Each parser finds its splits, and says which odd rows it left out."""

import json
import logging
import re
from pathlib import Path

import pytest

from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.dataio.prepare import prepare_manifests
from nar_asr_lobes.errors import UserError
from tests.recipes import corpus_trees as trees
from tests.recipes.running import TINY, parser, run

MAKERS = {
    "LibriSpeech": trees.make_librispeech_and_labels,
    "CommonVoice": trees.make_commonvoice,
    "PriMock57": trees.make_primock,
    "AfriSpeech200": trees.make_afrispeech,
    "LibriLight": trees.make_librilight,
    "VoxPopuli": trees.make_voxpopuli,
    "MedicalDictation": trees.make_dictation,
    "Multi": trees.make_multi,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a function that makes a corpus once and gives its folder."""
    root = tmp_path_factory.mktemp("corpora")

    def folder(recipe):
        if not (root / recipe).exists():
            MAKERS[recipe](root / recipe)
        return root / recipe

    return folder


@pytest.fixture
def splits_of(tree):
    """Return a function that gives the listed splits of a recipe."""

    def splits(recipe, **options):
        found = parser(recipe)(str(tree(recipe)), **options)
        return {name: list(rows) for name, rows in found.items()}

    return splits


def speakers(rows):
    return {row.speaker for row in rows}


@pytest.mark.parametrize("recipe", MAKERS)
def test_audio_is_there_and_no_test_speech_is_trained_on(splits_of, recipe):
    options = {}
    if recipe == "Multi":
        options["corpora"] = {"LibriSpeech": {"folder": "LibriSpeech"}}
    splits = splits_of(recipe, **options)
    for name, rows in splits.items():
        assert all(Path(row.audio).is_file() for row in rows)
        assert all(row.duration > 0 for row in rows)
        assert len({row.id for row in rows}) == len(rows) > 0
        assert all(("pool" in name) == (row.text is None) for row in rows)
    held_out = {row.audio for x in ("dev", "test") for row in splits[x]}
    trained = {row.audio for x in ("train", "pool") for row in splits[x]}
    assert recipe == "PriMock57" or not held_out & trained


@pytest.mark.parametrize(
    ("subset", "folders"),
    [("10min", {"300", "301"}), ("1h", {"300", "301", "310", "311"})],
)
def test_librispeech_labels_of_librilight(splits_of, subset, folders):
    splits = splits_of("LibriSpeech", train=[subset], pool=[])
    assert speakers(splits["train"]) == folders
    more = splits_of("LibriSpeech", train=["10h"], pool=[])["train"]
    assert speakers(more) == {"300", "301", "310", "311", "320", "321"}
    clean = splits_of("LibriSpeech", train=["train-clean-100"], pool=[])
    assert speakers(clean["train"]) == {"100", "101"}


def test_commonvoice_odd_rows(splits_of, caplog):
    train = splits_of("CommonVoice")["train"]
    assert len(train) == trees.SIZES["train"]
    assert train[0].text.startswith('"')
    assert train[1].groups == {
        "gender": "female_feminine",
        "age": "thirties",
        "accent": "United States English, Welsh",
    }
    assert "2 clips without a sentence or of no length" in caplog.text


def test_commonvoice_validated_without_the_other_speakers(splits_of):
    splits = splits_of("CommonVoice", train=["validated"], pool=["validated"])
    assert len(splits["train"]) == trees.SIZES["train"] + 2
    held_out = speakers(splits["dev"]) | speakers(splits["test"])
    assert not held_out & speakers(splits["train"])


def test_commonvoice_of_the_first_versions(tmp_path):
    """No ending in path, accent for accents, no durations."""
    root = trees.make_commonvoice(tmp_path)
    (root / "clip_durations.tsv").unlink()
    for table in root.glob("*.tsv"):
        text = table.read_text().replace(".mp3", "")
        table.write_text(text.replace("\taccents\t", "\taccent\t"))
    (root / "clips" / "odd1.mp3").touch()
    train = list(parser("CommonVoice")(str(root))["train"])
    assert len(train) == trees.SIZES["train"]
    assert all(0 < row.duration < 5 for row in train)
    assert train[0].groups["accent"] == "United States English, Welsh"
    with pytest.raises(UserError, match="clips; give the folder of one lang"):
        parser("CommonVoice")(str(root.parent))


def test_primock_tags_and_channels(splits_of, caplog):
    splits = splits_of("PriMock57")
    # Four intervals in each channel have words, one is unintelligible.
    assert len(splits["test"]) == 5 * 2 * 4
    assert not any(re.search("[<>]", row.text) for row in splits["test"])
    texts = trees.sentences("day1_consultation01_doctor", 4)
    first = splits["test"][:4]
    assert [x.text.strip(" ,.?").lower() for x in first] == texts
    assert first[1].start == pytest.approx(0.12 * (len(texts[0]) + 3))
    assert first[0].groups == {
        "role": "doctor",
        "consultation": "day1_consultation01",
    }
    days = {x: {y.id[3] for y in splits[x]} for x in ("train", "dev")}
    assert days == {"train": set("123"), "dev": {"4"}}
    assert {x.id[3] for x in splits["held_out"]} == {"5"}


def test_primock_options(splits_of):
    every = splits_of("PriMock57", exclude=[])["test"]
    assert {row.groups["consultation"] for row in every} > {
        "day1_consultation07"
    }
    sure = splits_of("PriMock57", unintelligible=False)["test"]
    assert len(sure) == 5 * 2 * 2


def test_primock_faults(tmp_path):
    root = trees.make_primock(tmp_path)
    grid = root / "transcripts" / "day5_consultation01_doctor.TextGrid"
    content = grid.read_bytes()
    grid.write_bytes(content.replace(b"UNSURE>", b"CROSSTALK>"))
    with pytest.raises(UserError, match=r"doctor.TextGrid:16: has an unknown"):
        parser("PriMock57")(str(root))
    grid.unlink()
    with pytest.raises(UserError, match="doctor.TextGrid: is missing; clone"):
        parser("PriMock57")(str(root))


def test_afrispeech_odd_rows_and_domains(splits_of, caplog):
    splits = splits_of("AfriSpeech200")
    assert len(splits["train"]) == 2 * trees.SIZES["train"]
    assert "train: the audio of 2 rows is not below" in caplog.text
    assert splits["train"][0].text.endswith(' , "ten" .')
    assert splits["train"][0].groups == {
        "accent": "akan (fante)",
        "domain": "clinical",
        "gender": "female",
        "age": "26-40",
        "country": "ng",
    }
    parts = splits["test_clinical"] + splits["test_general"]
    assert sorted(x.id for x in parts) == sorted(x.id for x in splits["test"])
    chosen = splits_of("AfriSpeech200", domains=["general"], accents=["yoruba"])
    groups = [row.groups for row in chosen["train"] + chosen["dev"]]
    assert {(x["domain"], x["accent"]) for x in groups} == {
        ("general", "yoruba")
    }
    assert len(chosen["test"]) == len(splits["test"])


def test_afrispeech_faults(tmp_path):
    with pytest.raises(UserError, match="choose from clinical, general"):
        parser("AfriSpeech200")(str(tmp_path), domains=["legal"])
    with pytest.raises(UserError, match="unpack its archives"):
        parser("AfriSpeech200")(str(tmp_path))


@pytest.mark.parametrize("recipe", ["LibriLight", "VoxPopuli"])
def test_long_recordings_are_cut(splits_of, tree, tmp_path, recipe):
    splits = splits_of(recipe)
    names = {"pool": splits["pool"], "pool_dev": splits["pool_dev"]}
    paths = prepare_manifests(names, tmp_path, tree(recipe), max_seconds=2)
    for name, rows in names.items():
        pieces = read_manifest(paths[name])
        assert len(pieces) > len(rows)
        assert max(piece.duration for piece in pieces) <= 2
        seconds = sum(piece.duration for piece in pieces)
        assert seconds == pytest.approx(sum(row.duration for row in rows))
    heard = [{row.audio for row in rows} for rows in names.values()]
    assert not heard[0] & heard[1]
    if recipe == "LibriLight":
        assert not speakers(splits["pool"]) & speakers(splits["pool_dev"])


def test_voxpopuli_sessions_of_dev_and_test_are_not_in_the_pool(splits_of):
    splits = splits_of("VoxPopuli")
    sessions = [Path(x.audio).stem for x in splits["pool"] + splits["pool_dev"]]
    assert sorted(sessions) == [
        "20100119-0900-PLENARY-3_en",
        "20100119-0900-PLENARY-4_en",
        "20110119-0900-PLENARY-4_en",
        "20120119-0900-PLENARY-4_en",
    ]
    assert [x.speaker for x in splits["dev"]] == ["124737", None, None]


def test_missing_audio_is_told(tmp_path):
    for recipe, problem in {
        "LibriLight": "has no audio in small, medium, large; unpack",
        "VoxPopuli": "raw_audios/en: has no audio, nor has",
    }.items():
        with pytest.raises(UserError, match=problem):
            list(parser(recipe)(str(tmp_path))["pool"])


def test_dictation_splits_are_stored(tmp_path):
    root = trees.make_dictation(tmp_path)
    first = parser("MedicalDictation")(str(root))
    stored = (root / "splits.json").read_text()
    assert len(json.loads(stored)) == 6 and "Dr" not in stored
    names = ("train", "dev", "test")
    groups = [speakers(first[name]) for name in names]
    assert [len(x) for x in groups] == [4, 1, 1]
    assert len(set().union(*groups)) == 6
    assert {frozenset(row.groups) for row in first["train"]} == {
        frozenset({"specialty", "device"})
    }
    assert parser("MedicalDictation")(str(root)) == first


def test_dictation_needs_speakers_and_disjoint_splits(tmp_path):
    root = trees.make_dictation(tmp_path)
    table = root / "dictations.csv"
    text = table.read_text()
    table.write_text(text.replace('"speaker"', '"who"'))
    with pytest.raises(UserError, match="utterances have no speaker, by whom"):
        parser("MedicalDictation")(str(root))
    table.write_text(text.replace('"device"', '"split"'))
    lines = table.read_text().split("\n")
    for number, split in enumerate(("train", "dev", "test"), 1):
        lines[number] = lines[number].replace("headset, USB", split)
    table.write_text("\n".join(lines[:4]))
    with pytest.raises(UserError, match="2 speakers are in more than one"):
        parser("MedicalDictation")(str(root))


def test_nothing_of_a_dictation_is_in_a_log(tmp_path):
    """Not in pre-training, fine-tuning or evaluation, nor in an error."""
    canary, root = "zyxqz", tmp_path / "data"
    trees.make_dictation(root, canary)
    common = [f"--data_folder={root}", "--debug_utterances=4"]
    train = [*common, "--steps=1", "--global_batch=2", TINY]
    outs = {x: tmp_path / x for x in ("pretrain", "finetune", "evaluate")}
    options = {
        "pretrain": train,
        "finetune": [*train, "--init_from=null", "--lm=null"],
        "evaluate": [*common, f"--bundle={outs['finetune'] / 'bundle'}"],
    }
    for task, out in outs.items():
        extra = [*options[task], f"--output_folder={out}"]
        if task != "pretrain":
            extra += ["--modes=[ctc_greedy]"]
        outcome = run("MedicalDictation", task, *extra)
        assert outcome.code == 0, outcome.err
        text = outcome.out + outcome.err
        for log in out.rglob("*log*.txt"):
            text += log.read_text()
        assert "1 x cannot be read as audio (" in text
        assert canary not in text.lower()
    manifest = (outs["finetune"] / "manifests" / "train.jsonl").read_text()
    assert canary in manifest  # which is where the search must find it
    table = root / "dictations.csv"
    table.write_text(table.read_text() + f'"{canary}","{canary}"\r\n')
    folder = f"--output_folder={tmp_path / 'faulty'}"
    outcome = run("MedicalDictation", "pretrain", *train, folder)
    assert canary not in outcome.error


MIX = {
    "LibriSpeech": {"folder": "LibriSpeech", "weight": 0.5},
    "CommonVoice": {"folder": "cv-corpus/en"},
    "Dictation": {
        "folder": "dictation",
        "recipe": "MedicalDictation",
        "weight": 2.5,
    },
}


def test_multi_weights(splits_of):
    splits = splits_of("Multi", corpora=MIX)
    every = splits_of(
        "Multi", corpora={k: {**v, "weight": 1} for k, v in MIX.items()}
    )

    def counts(rows):
        names = [row.groups["corpus"] for row in rows]
        return {name: names.count(name) for name in MIX}

    whole, mixed = counts(every["train"]), counts(splits["train"])
    assert mixed["CommonVoice"] == whole["CommonVoice"]
    assert 0 < mixed["LibriSpeech"] < whole["LibriSpeech"]
    assert 2 * whole["Dictation"] < mixed["Dictation"]
    assert mixed["Dictation"] < 3 * whole["Dictation"]
    assert counts(splits["dev"]) == counts(every["dev"])
    assert {"CommonVoice-test", "LibriSpeech-test-other"} < set(splits)
    again = splits_of("Multi", corpora=MIX)
    assert again["train"] == splits["train"]


@pytest.mark.parametrize("temperature", [1, 2, 1e9])
def test_multi_temperature(splits_of, temperature):
    """The shares are as asked for, as far as whole utterances can be."""
    one, mixed = (
        splits_of("Multi", corpora=MIX, temperature=t)["train"]
        for t in (1, temperature)
    )

    def hours(rows):
        return {
            name: sum(x.duration for x in rows if x.groups["corpus"] == name)
            for name in MIX
        }

    whole, found = hours(one), hours(mixed)
    powers = {name: x ** (1 / temperature) for name, x in whole.items()}
    for name in MIX:
        share = found[name] / sum(found.values())
        wanted = powers[name] / sum(powers.values())
        assert share == pytest.approx(wanted, rel=0.3)
    largest = max(whole, key=whole.get)
    assert found[largest] == pytest.approx(whole[largest])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"corpora": {}}, "corpora is empty"),
        ({"corpora": {"No": {"folder": "x"}}}, "'No' is no recipe"),
        ({"corpora": {"Multi": {"folder": "x"}}}, "'Multi' is no recipe"),
        ({"corpora": {"CommonVoice": {}}}, "CommonVoice has no folder"),
        (
            {"corpora": {"CommonVoice": {"folder": "x", "wait": 1}}},
            "unknown key 'wait'",
        ),
        (
            {"corpora": {"CommonVoice": {"folder": "x", "weight": 0}}},
            "weight is 0; it must be a finite number above 0",
        ),
        (
            {"corpora": {"LibriSpeech": {"folder": "x", "options": {"a": 1}}}},
            "LibriSpeech: options: .* argument 'a'; its prepare takes",
        ),
        ({"corpora": MIX, "temperature": 0.5}, "temperature is 0.5"),
    ],
)
def test_multi_options_that_cannot_be(tree, options, problem):
    with pytest.raises(UserError, match=problem):
        parser("Multi")(str(tree("Multi")), **options)


@pytest.fixture(autouse=True)
def _see_warnings(caplog):
    caplog.set_level(logging.INFO)
