"""Every fault is found, counted and named; sound utterances pass."""

import itertools
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.audio.silence import ctc_frames_needed
from nar_asr_lobes.dataio.checks import (
    Finding,
    check_utterances,
    summarize,
)
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer("abc ")


def noise(samples):
    """Return samples that are neither silent nor loud."""
    return np.random.default_rng(0).uniform(-0.1, 0.1, samples)


def frames_25_hz(samples):
    """Stand for an encoder's `output_lengths`."""
    return samples // 640


@pytest.fixture
def clip(tmp_path):
    """Return a maker of utterances with a sound file of their own."""

    def make(name, wav=None, duration=1.0, text="abc", subtype="FLOAT"):
        wav = noise(16000) if wav is None else wav
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, wav, 16000, subtype=subtype)
        return Utterance(name, str(path), duration, text)

    return make


def problems(utterances, **options):
    """Return (id, problem) of all findings."""
    usable, findings = check_utterances(utterances, **options)
    bad = {finding.id for finding in findings}
    assert [u.id for u in usable] == [
        u.id for u in utterances if u.id not in bad
    ]
    return [(f.id, f.problem) for f in findings]


def test_sound_utterances_pass(clip):
    rows = [clip("u1"), clip("u2", text="a b c")]
    assert problems(rows, read=True) == []
    assert (
        problems(rows, tokenizer=TOKENIZER, frames=frames_25_hz, read=True)
        == []
    )


@pytest.mark.parametrize("read", [False, True])
def test_missing_and_empty_files(clip, tmp_path, read):
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    rows = [
        Utterance("u1", str(tmp_path / "no.wav"), 1.0),
        clip("u2"),
        Utterance("u3", str(empty), 1.0),
    ]
    assert problems(rows, read=read) == [
        ("u1", "is missing"),
        ("u3", "is empty (0 bytes)"),
    ]


def test_reading_finds_damaged_audio(clip, tmp_path):
    nan = np.zeros(16000)
    nan[7] = np.nan
    garbage, cut = tmp_path / "g.wav", tmp_path / "cut.flac"
    garbage.write_bytes(b"no sound" * 50)
    soundfile.write(cut, np.random.default_rng(0).uniform(-1, 1, 16000), 16000)
    cut.write_bytes(cut.read_bytes()[:9000])
    rows = [
        clip("nan", nan),
        clip("loud", np.full(16000, 1e30)),
        Utterance("garbage", str(garbage), 1.0),
        Utterance("cut", str(cut), 1.0),
        clip("none", np.zeros(0)),
        clip("short", noise(8000)),
        clip("good"),
    ]
    assert problems(rows) == []
    assert problems(rows, read=True) == [
        ("nan", "has samples that are not finite numbers (NaN or infinite)"),
        ("loud", "has samples beyond 8 times full scale"),
        ("garbage", "cannot be read as audio"),
        ("cut", "cannot be read as audio"),
        ("none", "holds no samples"),
        ("short", "is not as long as its manifest says"),
    ]


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_with_a_transcript(clip, level):
    wav = np.full(16000, level)
    rows = [clip("spoken", wav), clip("unlabelled", wav, text=None)]
    assert problems(rows) == []
    assert problems(rows, read=True) == [
        ("spoken", "has a transcript, but its samples are all equal (silence)")
    ]


def test_usable_files_with_a_fault_are_counted(clip, caplog):
    rows = [clip(f"short{i}") for i in range(7)] + [clip("whole")]
    for row in rows[:-1]:
        with open(row.audio, "r+b") as file:
            file.truncate(file.seek(0, 2) - 4 * 480)
    wav = noise(16000)
    rows.append(clip("phase", np.stack([wav, -wav], axis=1)))
    assert problems(rows) == [] and not caplog.records
    assert problems(rows, read=True) == []
    (line,) = caplog.messages
    assert line.startswith("used all the same: 8 utterances have faults:\n")
    assert "7 x ends a little before its header says; used as far" in line
    assert "1 x has channels of opposite phase; the loudest" in line


def test_checks_do_not_hold_whole_files(clip):
    wav = np.stack([noise(90 * 16000)] * 2, axis=1)
    rows = [clip("u1", wav, duration=90.0, text=None)]
    tracemalloc.start()
    assert problems(rows, max_seconds=100.0, read=True) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # the file holds 11.5 MB as float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_durations_that_are_not_finite(clip, bad):
    # `read_manifest` refuses them; a caller may make utterances in memory.
    assert len(problems([clip("u", duration=bad)])) >= 1


def test_limits_of_the_duration(clip):
    rows = [clip(f"u{d}", duration=d) for d in (0.4, 0.5, 2.0, 2.1)]
    assert problems(rows, min_seconds=0.5, max_seconds=2.0) == [
        ("u0.4", "is shorter than the limit of 0.5 s"),
        ("u2.1", "is longer than the limit of 2 s"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "has an empty transcript"),
        ("", "has an empty transcript"),
        (" \n", "has an empty transcript"),
        ("abd", "has characters outside the tokenizer in its transcript"),
    ],
)
def test_transcripts(clip, text, problem):
    rows = [clip("u1", text=text), clip("u2")]
    assert problems(rows) == []
    assert problems(rows, tokenizer=TOKENIZER) == [("u1", problem)]


def test_findings_name_characters_and_never_the_text(clip):
    rows = [clip("u1", text="abc é\u0301 cab")]
    _, (finding,) = check_utterances(rows, TOKENIZER)
    assert finding.where == f"{rows[0].audio} (U+00E9 U+0301)"
    assert "cab" not in str(finding) and str(finding).startswith("u1: ")


def test_targets_longer_than_ctc_can_align(clip):
    """More than 50 frames a second, which is more than anybody can say."""
    texts = {"fits": "ab" * 50, "long": "ab" * 50 + "a", "repeats": "a" * 51}
    rows = [clip(name, duration=2, text=t) for name, t in texts.items()]
    found = problems(rows, tokenizer=TOKENIZER, frames=frames_25_hz)
    assert found == [
        ("long", "has a target longer than CTC can align"),
        ("repeats", "has a target longer than CTC can align"),
    ]


def test_frames_come_from_the_file_when_it_is_read(clip):
    row = clip("u1", noise(32640), duration=2, text="ab" * 51)
    options = {"tokenizer": TOKENIZER, "frames": frames_25_hz}
    assert len(problems([row], **options)) == 1
    assert problems([row], read=True, **options) == []


def test_several_faults_of_one_utterance(tmp_path):
    row = Utterance("u1", str(tmp_path / "no.wav"), 99.0, "xyz")
    found = problems([row], tokenizer=TOKENIZER, frames=frames_25_hz)
    assert len(found) == 3


def test_frames_needed_is_where_the_loss_becomes_finite():
    for length in range(1, 5):
        for target in itertools.product([1, 2], repeat=length):
            need = ctc_frames_needed(target)
            losses = [
                torch.nn.functional.ctc_loss(
                    torch.zeros(frames, 1, 3).log_softmax(-1),
                    torch.tensor([target]),
                    torch.tensor([frames]),
                    torch.tensor([length]),
                ).item()
                for frames in (need - 1, need)
                if frames > 0
            ]
            assert np.isfinite(losses[-1])
            assert not np.isfinite(losses[:-1]).any()


def test_summary_counts_and_names():
    findings = [
        Finding(f"u{i}", f"{i}.wav", "is missing", "look", place=f"a.tsv:{i}")
        for i in range(7)
    ]
    findings.insert(2, Finding("u1", "1.wav (9 s)", "is too long", "cut it"))
    assert summarize(findings).splitlines() == [
        "7 utterances have faults:",
        "  7 x is missing (a.tsv:0, 1, 2, 3, 4, …); look",
        "  1 x is too long; cut it",
    ]
    assert summarize([]) == "no faults found"
