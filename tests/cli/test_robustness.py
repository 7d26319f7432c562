"""`nar-asr robustness`, called as a function."""

import json
from xml.etree import ElementTree

import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.evaluation.robustness import conditions
from nar_asr_lobes.evaluation.robustness import measure as measuring
from nar_asr_lobes.inference.transcriber import Transcriber

CHOSEN = ["white-5dB", "speed-0.8x", "silence", "pink_alone"]


@pytest.fixture
def corpus(tone_clips, tmp_path):
    """A table with a train and a test split, and a file that is missing."""
    rows = ["id,audio,split,speaker,text"]
    for number, clip in enumerate(tone_clips):
        split = "test" if number % 2 else "train"
        speaker = f"canary{number}"
        rows.append(f"{clip.id},{clip.audio},{split},{speaker},{clip.text}")
    rows.append("canary-gone,gone.wav,test,,canary")
    path = tmp_path / "corpus.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def measure(bundle_folder, corpus, tmp_path, monkeypatch, capsys):
    """Call the command; give its status, stdout, stderr and folder."""
    monkeypatch.setattr(conditions, "ALONE_SECONDS", 3)
    monkeypatch.setattr(measuring, "ALONE_SECONDS", 3)

    def call(*options, chosen=CHOSEN, mode="ctc_greedy"):
        folder = tmp_path / "out"
        arguments = ["robustness", str(bundle_folder), str(corpus)]
        arguments += [f"--condition={name}" for name in chosen]
        arguments += [f"--output_folder={folder}", f"--mode={mode}"]
        status = main([*arguments, "--device=cpu", *options])
        return status, *capsys.readouterr(), folder

    return call


def test_from_a_table_to_a_table_and_a_plot(measure, bundle_folder, corpus):
    status, out, err, folder = measure()
    assert status == 0
    table = (folder / "table.md").read_text()
    assert out.startswith(table)
    for name in ("clean", *CHOSEN):
        assert f"| {name} |" in table
    assert f"cannot be scored: 1; {folder / 'left_out.txt'} names" in out
    found = json.loads((folder / "results.json").read_text())
    assert found["mode"] == "ctc_greedy" and found["seed"] == 0
    assert (found["utterances"], found["left_out"]) == (4, 1)
    assert found["versions"]["torch"] and found["bundle_sha256"]
    clean = found["conditions"]["clean"]
    assert found["conditions"]["white-5dB"] != clean
    assert found["without_speech"]["silence"]["seconds"] == 3
    assert ElementTree.parse(folder / "robustness.svg")
    (line,) = (folder / "left_out.txt").read_text().splitlines()
    assert line == f"{corpus}:10: is missing; check the path"
    for text in ("canary", "pain", "tones-"):  # ids, speakers, texts
        assert text not in out + err


def test_the_texts_are_those_of_transcribe(measure, bundle_folder, corpus):
    *_, folder = measure(chosen=["clean"])
    rows = (folder / "hypotheses" / "clean.jsonl").read_text().splitlines()
    texts = {row["id"]: row["text"] for row in map(json.loads, rows)}
    lines = corpus.read_text().splitlines()[1:]
    paths = {line.split(",")[0]: line.split(",")[1] for line in lines}
    command = ["transcribe", *(paths[name] for name in texts)]
    command += ["--bundle", str(bundle_folder), "--mode=ctc_greedy"]
    assert main([*command, "--format=json", "--output-dir", str(folder)]) == 0
    for name, text in texts.items():
        path = folder / f"{name}.json"
        assert json.loads(path.read_text())["text"] == text != ""


def test_a_stopped_run_continues(measure, monkeypatch):
    stream, calls = Transcriber.stream, []

    def stopped(self, wavs, rate):
        calls.append(rate)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stream(self, wavs, rate)

    monkeypatch.setattr(Transcriber, "stream", stopped)
    status, *_, folder = measure()
    assert status == 130
    names = [path.stem for path in (folder / "hypotheses").iterdir()]
    assert names == ["clean"] and not (folder / "results.json").exists()
    assert measure()[0] == 0
    assert len(calls) == 2 + 4  # clean was not recognised again
    status, _, err, _ = measure(mode="beam5")
    assert status == 2 and "holds results of another mode" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--condition=rain"], "condition 'rain' is unknown; choose from"),
        (["--split=dev"], "no split 'dev'; choose one of train, test with"),
        (["--mode=sing"], "unknown decoding mode 'sing'"),
    ],
)
def test_mistakes_are_one_sentence(measure, options, message):
    status, out, err, _ = measure(*options)
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_a_missing_matplotlib_is_told_before_anything_is_recognised(
    measure, monkeypatch
):
    monkeypatch.setattr(
        "nar_asr_lobes.cli.robustness.find_spec", lambda name: None
    )
    status, _, err, folder = measure()
    assert status == 2 and "install 'nar-asr-lobes[eval]'" in err
    assert not folder.exists()
