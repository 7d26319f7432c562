"""Recordings of tone speech to segments, by a model that understands it."""

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.formats.textgrid import read_textgrid
from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.segmenter import segment_recording
from nar_asr_lobes.inference.transcriber import Transcriber

SPOKEN = ["abca dacb", "dd cab bad", "bcd abd", "cada bacda", "add dab cab"]


@pytest.fixture
def recording(tmp_path, speak):
    """A minute with pauses; the third sentence is missing in the text."""
    pieces, times, place = [], [], 0
    for text in SPOKEN * 4:
        wav = speak(text)
        pause = np.random.default_rng(0).normal(scale=1e-3, size=16000)
        pieces += [pause, wav]
        start = place + len(pause)
        place = start + len(wav)
        # `speak` has a space on either side
        times.append((start / 16000 + 0.12, place / 16000 - 0.14))
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate(pieces), 16000)
    text = SPOKEN * 4
    del text[2], times[2]
    text.insert(7, "cbcb cbd bcdcc bb cddd")  # not spoken
    times.insert(7, None)
    return str(path), text, times


def test_spoken_sentences_are_placed_and_no_others(folder, recording):
    path, text, times = recording
    transcriber = Transcriber(load_bundle(folder), device="cpu")
    found = segment_recording(transcriber, path, [*text, "xyz!"])
    assert found.unknown_characters == dict.fromkeys("xyz!", 1)
    *segments, unknown = found.segments
    assert unknown.left_out == "no known characters"
    for segment, true in zip(segments, times, strict=True):
        if true is None:
            assert segment.left_out
        else:
            assert not segment.left_out
            assert segment.start == pytest.approx(true[0], abs=0.15)
            assert segment.end == pytest.approx(true[1], abs=0.15)
    assert 0.2 < found.speech_outside < 2  # the sentence without text


def test_the_command_writes_what_it_found(folder, recording, tmp_path, capsys):
    path, text, times = recording
    transcript = tmp_path / "text.txt"
    transcript.write_text("\n".join(text))
    outputs = [tmp_path / f"out/a{end}" for end in (".jsonl", ".TextGrid")]
    for output in outputs:
        arguments = [path, str(transcript), "--output", str(output)]
        assert main(["segment", *arguments, "--bundle", str(folder)]) == 0
    assert "19 of 20 sentences are segments" in capsys.readouterr().out
    rows = read_manifest(outputs[0])
    assert [x.text for x in rows] == [
        line for line, true in zip(text, times, strict=True) if true
    ]
    assert {x.audio for x in rows} == {path}
    intervals = [x for x in read_textgrid(outputs[1]) if x.text]
    for row, interval in zip(rows, intervals, strict=True):
        assert interval.start == pytest.approx(row.start, abs=2e-3)
        assert interval.end - interval.start == pytest.approx(
            row.duration, abs=2e-3
        )
    table = (tmp_path / "out/a.segments.tsv").read_text().splitlines()
    assert len(table) == 21
    assert table[8].split("\t")[4] in ("not found", "low score")


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["{path}", "{text}", "--output", "a.doc"], "must end in"),
        (["no.wav", "{text}", "--output", "a.srt"], "no.wav: is missing"),
        (["{path}", "no.txt", "--output", "a.srt"], "no.txt: cannot be read"),
    ],
)
def test_mistakes_are_a_sentence(
    folder, recording, tmp_path, capsys, arguments, problem, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("abc")
    paths = {"path": recording[0], "text": "text.txt"}
    arguments = [x.format(**paths) for x in arguments]
    assert main(["segment", *arguments, "--bundle", str(folder)]) == 2
    assert problem in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))


def test_a_transcript_of_another_script_is_refused(folder, recording):
    transcriber = Transcriber(load_bundle(folder), device="cpu")
    with pytest.raises(UserError, match="bundle of this language"):
        segment_recording(transcriber, recording[0], ["привет"])
