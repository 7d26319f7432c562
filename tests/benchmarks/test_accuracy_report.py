"""The head-to-head's table: intervals, files of both sides, curves."""

import json

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    SavedPosteriors,
    write_posteriors,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import write_alignments
from nar_asr_lobes.lm.ngram.training import train_ngram
from tests.benchmarks.accuracy_peers import report

TOKENIZER = CharTokenizer("ab ")
TEXTS = {"u1": "ab a", "u2": "b", "u3": "ab ab"}


def write_system(folder, texts, split="dev"):
    """Write a folder whose posteriors spell these texts."""
    folder.mkdir()
    rows = []
    for text in texts.values():
        row = torch.full((2 * len(text), TOKENIZER.size), -9.0)
        for place, token in enumerate(TOKENIZER.encode(text)):
            row[2 * place, token] = 0.0
            row[2 * place + 1, 0] = 0.0
        rows.append(row.log_softmax(-1))
    for name in {"dev", split}:
        saved = SavedPosteriors(
            list(texts),
            list(TEXTS.values()),
            rows,
            TOKENIZER.fingerprint,
            0.04,
            1.0,
        )
        write_posteriors(folder / f"{name}{SUFFIX}", saved)
    TOKENIZER.save(folder / "tokenizer.json")
    train_ngram(TEXTS.values(), TOKENIZER, 2, folder / "lm.arpa")
    (folder / "results.json").write_text(json.dumps({"core_minutes": 40.0}))
    return folder


def test_the_table_compares_the_same_modes(tmp_path):
    ours = report.load_system(
        "ours", write_system(tmp_path / "ours", TEXTS), "dev"
    )
    worse = dict(TEXTS, u3="ab")
    folder = write_system(tmp_path / "peer", worse)
    (folder / "speed.json").write_text(
        '{"joint_beam10_lm": 2.5, "ours_beam5_lm": 90}'
    )
    (folder / "dev.hypotheses.jsonl").write_text(
        "".join(
            json.dumps({"id": name, "text": text}) + "\n"
            for name, text in worse.items()
        )
    )
    rows = report.compare(ours, [report.load_system("peer", folder, "dev")])
    by_name = {(row["system"], row["mode"]): row for row in rows}
    assert by_name["ours", "greedy"]["wer"] == 0
    assert by_name["ours", "beam5_lm"]["audio_s_per_core_s"] == 90
    row = by_name["peer", "beam10_lm"]
    assert row["wer"] == pytest.approx(20)  # one word of five
    assert row["audio_s_per_core_s"] == 2.5
    assert row["ours_fewer_word_errors"][0] == 100
    assert "| peer | beam10_lm | 40.0 | 20.00 |" in report.format_rows(rows)


def test_results_of_another_set_are_refused(tmp_path):
    systems = [
        report.load_system(name, write_system(tmp_path / name, texts), "dev")
        for name, texts in (
            ("ours", TEXTS),
            ("peer", dict(zip("xyz", TEXTS.values(), strict=True))),
        )
    ]
    with pytest.raises(UserError, match="other utterances"):
        report.compare(systems[0], systems[1:])


def test_alignments_give_the_hypotheses_back(tmp_path):
    found = {"u1": "a ab b", "u2": "", "u3": "ab ab"}
    path = tmp_path / "nar.txt"
    write_alignments(path, list(TEXTS), list(TEXTS.values()), [*found.values()])
    assert report.read_alignments(path) == found


def test_curves_of_both_kinds_are_drawn(tmp_path):
    ours, peer = (
        report.System("ours", tmp_path),
        report.System("peer", tmp_path),
    )
    ours.core_minutes = 40.0
    (tmp_path / "train_log.txt").write_text(
        "step: 50, skipped_steps: 0 - train loss: 3.0\n"
        "step: 100, skipped_steps: 0 - valid ctc: 1.2, valid wer: 8.4e-01, "
        "valid cer: 3.2e-01\n"
        "step: 200, skipped_steps: 0 - valid ctc: 1.0, valid wer: 5.4e-01, "
        "valid cer: 1.8e-01\n"
    )
    points = [(20, 84, 32), (40, 54, 18)]
    assert report.read_curve(ours) == [pytest.approx(p) for p in points]
    row = {"core_minutes": 4.0, "wer": 99.0, "cer": 70.0}
    (tmp_path / "curve.jsonl").write_text(json.dumps(row) + "\n")
    assert report.read_curve(peer) == [(4.0, 99.0, 70.0)]
    report.draw_curves([ours, peer], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
