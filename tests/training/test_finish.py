"""The steps after a fine-tuning, and the evaluation of the bundle it wrote."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.cli.main import main as nar_asr
from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, load_tokenizer
from nar_asr_lobes.decoding.modes import MODES
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    read_posteriors,
)
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.bundle_files import _INDEX
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.report.read import read_report
from nar_asr_lobes.storage import sha256
from nar_asr_lobes.training import finish
from tests.training.tiny_recipe import (
    TEXT,
    copy_of,
    edit_row,
    run_tiny,
)


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of its corpus, with the fine-tuning in ``out``."""
    shutil.copytree(finished / "finetune", tmp_path / "out")
    return copy_of(finished, tmp_path)


def evaluate(folder, *options):
    """Evaluate the bundle into a folder of its own."""
    bundle = f"--bundle={folder / 'out' / 'bundle'}"
    target = f"--output_folder={folder / 'evaluated'}"
    outcome = run_tiny(folder, "evaluate", bundle, target, *options)
    return folder / "evaluated", outcome


def test_the_card_says_what_the_run_was(finished):
    card = (finished / "finetune" / "bundle" / "README.md").read_text()
    assert "2 steps of 4 utterances" in card
    assert "h of split `train` of data (10 utterances)" in card
    assert "finetune.yaml --data_folder=/path/to/data" in card
    assert "pre-trained" not in card  # this one had no init_from
    for mode in MODES:
        assert mode in card


def test_a_report_has_the_figures_of_the_run(finished):
    run = finished / "finetune"
    report = read_report(run)
    results = json.loads((run / "results.json").read_text())
    assert [found.name for found in report.sets] == list(results)
    for found in report.sets:
        modes = results[found.name]
        assert [system.name for system in found.systems] == list(modes)
        for system in found.systems:
            expected = modes[system.name]
            assert system.figures["wer"] == pytest.approx(expected["wer"])
            assert system.figures["cer"] == pytest.approx(expected["cer"])
            assert len(system.words) == expected["utterances"]
    assert "ctc" in [curve.name for curve in report.curves]


def test_the_language_model_learns_from_the_texts_named(folder):
    lines = "\ufeffant\u2028ant\u2028ant\r\ntea\n"
    (folder / "data" / "more.txt").write_bytes(lines.encode())
    shutil.rmtree(folder / "out")
    option = "--lm={texts: [more.txt], order: 2, unit: words, tune: True}"
    assert run_tiny(folder, "finetune", option).code == 0
    tokenizer = load_tokenizer(folder / "out" / "bundle" / "tokenizer")
    info = NgramLM.load(folder / "out" / "lm.ngram", tokenizer).info
    assert (info.lines_used, info.order, info.unit) == (12, 2, "words")
    surface = json.loads((folder / "out" / "tuning.json").read_text())
    assert {"nar", "nar_beam5_lm"} < set(surface)
    assert surface["beam5_lm"] == tuned_again(folder)


def tuned_again(folder):
    """The surface of ``nar-asr lm tune`` on what the fine-tuning left."""
    out, target = folder / "out", folder / "again.json"
    files = out / f"dev{SUFFIX}", "--lm", out / "lm.ngram"
    options = "--tokenizer", out / "bundle", "--output", target
    assert nar_asr(["lm", "tune", *map(str, (*files, *options))]) == 0
    return json.loads(target.read_text())["surface"]


def test_only_the_modes_asked_for_are_evaluated(folder):
    out, outcome = evaluate(folder, "--modes=[nar, beam5]")
    assert outcome.code == 0, outcome.err
    results = json.loads((out / "results.json").read_text())
    assert list(results["test"]) == ["nar", "beam5"]
    table = (out / "results.txt").read_text()
    assert "nar " in table and "oracle WER %" in table
    assert not list(out.glob(f"*{SUFFIX}"))


def test_the_overlap_with_the_training_is_in_the_report(folder):
    train = read_manifest(folder / "out" / "manifests" / "train.jsonl")
    text = train[3].text.upper()
    edit_row(folder / "data", "test1", TEXT, f"{text}!")
    options = "--modes=[ctc_greedy]", "--data={text_style: none}"
    out, outcome = evaluate(folder, *options)
    assert outcome.code == 0, outcome.err
    overlap = json.loads((out / "overlap.json").read_text())
    found = {tuple(x["splits"]): (x["speakers"], x["texts"]) for x in overlap}
    pairs = ("train", "dev"), ("train", "test"), ("dev", "test")
    named = [(f"bundle's {a}", b) for a, b in pairs[1:]]
    assert list(found)[1:] == named
    assert found["bundle's train", "test"] == (0, 1)
    line = "bundle's train and test: speakers 0, texts 1"
    assert line in (out / "results.txt").read_text()
    assert line in outcome.out
    shutil.rmtree(folder / "out" / "manifests")
    out, outcome = evaluate(folder, *options)
    assert "unknown: the manifests of the" in (out / "results.txt").read_text()


def test_results_say_how_many_utterances_were_scored(folder):
    """Even of a split that is dev too, whose faults were found before."""
    (folder / "data" / "audio" / "dev1.flac").unlink()
    shutil.rmtree(folder / "out")
    options = "--data={test: [dev]}", "--modes=[ctc_greedy]", "--lm=null"
    assert run_tiny(folder, "finetune", *options).code == 0
    results = json.loads((folder / "out" / "results.json").read_text())
    numbers = results["dev"]["ctc_greedy"]
    assert (numbers["utterances"], numbers["utterances_in_all"]) == (2, 3)
    table = (folder / "out" / "results.txt").read_text()
    assert "2 of 3 utterances scored; left_out.txt" in table
    card = (folder / "out" / "bundle" / "README.md").read_text()
    assert "| 2 of 3 |" in card


def test_posteriors_of_the_test_split_are_saved_where_asked(folder):
    out, outcome = evaluate(folder, "--save_posteriors=True")
    assert outcome.code == 0, outcome.err
    bundle = load_bundle(folder / "out" / "bundle")
    saved = read_posteriors(out / f"test{SUFFIX}", bundle.tokenizer)
    clips = read_manifest(out / "manifests" / "test.jsonl")
    assert saved.ids == [clip.id for clip in clips]
    assert saved.references == [clip.text for clip in clips]
    seconds = sum(clip.duration for clip in clips)
    assert saved.frame_seconds == bundle.model.frame_seconds
    assert saved.audio_seconds == pytest.approx(seconds, abs=0.01)
    for clip, heard in zip(clips, saved.log_probs, strict=True):
        wav = torch.from_numpy(read_audio(clip.audio))[None]
        with torch.inference_mode():
            alone = bundle.model.encode(wav, torch.ones(1)).log_probs[0]
        torch.testing.assert_close(heard, alone, rtol=1e-3, atol=1e-4)


def test_the_recall_of_hot_words_is_reported_for_each_mode(folder):
    rows = (folder / "data" / "utterances.tsv").read_text().splitlines()
    said = [row.split("\t")[TEXT] for row in rows if row.startswith("test")]
    listed = folder / "hot.txt"
    listed.write_text(said[0].split()[0] + "\n")
    out, outcome = evaluate(folder, f"--hot_words={listed}", "--hot_boost=3")
    assert outcome.code == 0, outcome.err
    results = json.loads((out / "results.json").read_text())["test"]
    assert list(results) == list(MODES)
    for numbers in results.values():
        assert numbers["hot_said"] >= 1
        assert numbers["hot_recall"] == (
            numbers["hot_found"] / numbers["hot_said"]
        )
    assert "hot said" in (out / "results.txt").read_text()
    refused = run_tiny(folder, "finetune", f"--hot_words={listed}")
    assert "hot_words: has no effect when the task is fine" in refused.error


def test_without_a_language_model_three_modes_are_left(folder):
    shutil.rmtree(folder / "out")
    assert run_tiny(folder, "finetune", "--lm=null").code == 0
    results = json.loads((folder / "out" / "results.json").read_text())
    assert list(results["test"]) == ["ctc_greedy", "nar", "beam5"]
    _, outcome = evaluate(folder, "--modes=[beam5_lm]")
    assert "beam5_lm" in outcome.error and "language model" in outcome.error


def test_without_decoder_the_other_modes_are_left(folder):
    shutil.rmtree(folder / "out")
    weightless = "--objective={decoder_weight: 0.0}"
    refused = run_tiny(folder, "finetune", weightless, "--modes=[nar]")
    assert "modes: decoding mode nar needs a NAR decoder, and" in refused.error
    assert run_tiny(folder, "finetune", weightless).code == 0
    results = json.loads((folder / "out" / "results.json").read_text())
    assert list(results["test"]) == ["ctc_greedy", "beam5", "beam5_lm"]
    assert load_bundle(folder / "out" / "bundle").default_mode == "beam5_lm"
    _, outcome = evaluate(folder, "--modes=[nar_beam5_lm]")
    assert "nar_beam5_lm needs a NAR decoder or a neural" in outcome.error


def swap_lm(bundle):
    tokenizer = CharTokenizer(" xyz")
    train_ngram(["x y", "z x"], tokenizer, 2, bundle / "lm.arpa")


def swap_lm_and_hashes(bundle):
    swap_lm(bundle)
    index = json.loads((bundle / _INDEX).read_text())
    index["sha256"] = {name: sha256(bundle / name) for name in index["sha256"]}
    (bundle / _INDEX).write_text(json.dumps(index))


def lose_tokenizer(bundle):
    (bundle / "tokenizer").unlink()


def lose_audio(bundle):
    shutil.rmtree(bundle.parents[1] / "data" / "audio")


def keep_all(bundle):
    """Damage nothing."""


@pytest.mark.parametrize(
    ("damage", "option", "message"),
    [
        (swap_lm, "", "lm.ngram: .*; copy or download the bundle again"),
        (swap_lm_and_hashes, "", "lm.ngram: .* made with another tokenizer"),
        (lose_tokenizer, "", "bundle/tokenizer: .*; copy or download the bun"),
        (lose_audio, "", "split 'test' is usable; .*/left_out.txt says why"),
        (
            keep_all,
            "--data={text_style: english}",
            "bundle: was trained on text of style 'none', .* set it to none",
        ),
        (keep_all, "--data={test: [tset]}", "has no split 'tset'; the recipe"),
        (keep_all, "--modes=[beam9]", "modes: unknown decoding mode 'bea"),
        (keep_all, "--hot_words=gone.txt", "gone.txt: cannot read this list"),
    ],
)
def test_what_does_not_fit_is_refused(folder, damage, option, message):
    damage(folder / "out" / "bundle")
    _, outcome = evaluate(folder, *[option] * bool(option))
    assert re.search(message, outcome.error), outcome.error


def lose_test_audio(folder):
    for path in (folder / "data" / "audio").glob("test*"):
        path.unlink()


def empty_test_texts(folder):
    for number in range(3):
        edit_row(folder / "data", f"test{number}", TEXT, "")


@pytest.mark.parametrize("damage", [lose_test_audio, empty_test_texts])
def test_an_unusable_test_split_is_found_before_the_training(folder, damage):
    shutil.rmtree(folder / "out")
    damage(folder)
    error = run_tiny(folder, "finetune", "--data={test: [dev, test]}").error
    assert "no utterance of split 'test' is usable; " in error
    lines = (folder / "out" / "left_out.txt").read_text().splitlines()
    assert [line[: len("test: test0: ")] for line in lines] == [
        f"test: test{number}: " for number in range(3)
    ]
    assert not (folder / "out" / "checkpoints").exists()


def assert_bundle(out, *cells):
    """It is whole, and its card has a row for each of these modes."""
    card = (out / "bundle" / "README.md").read_text()
    for mode in MODES:
        assert (f"| {mode} |" in card) == (mode in cells)
    return load_bundle(out / "bundle")


def test_a_split_that_fails_costs_no_other_and_no_bundle(folder, monkeypatch):
    """Its files are gone by the end of the training."""
    make = finish.make_language_models

    def lose(*arguments):
        lose_test_audio(folder)
        return make(*arguments)

    monkeypatch.setattr(finish, "make_language_models", lose)
    shutil.rmtree(folder / "out")
    error = run_tiny(folder, "finetune", "--data={test: [test, dev]}").error
    assert "error: test: no utterance of the test set is usable" in error
    assert error.endswith(
        "; the rest is done; correct this and start the run again"
    )
    results = json.loads((folder / "out" / "results.json").read_text())
    assert list(results) == ["dev"] and list(results["dev"]) == list(MODES)
    assert_bundle(folder / "out", *MODES)
    assert "evaluate" in (folder / "out" / "seconds.json").read_text()


def run_out_of_memory(*arguments):
    raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")


def test_a_mode_that_fails_costs_no_other(folder, monkeypatch):
    failing = replace(MODES["beam5"], search=run_out_of_memory)
    monkeypatch.setitem(MODES, "beam5", failing)
    out, outcome = evaluate(folder, "--modes=[ctc_greedy, beam5, nar]")
    assert (
        "error: evaluation of 'test' in mode beam5 failed (RuntimeError CUDA "
        "out of memory. Tried to allocate 2 GiB); log.txt holds more; the"
    ) in outcome.error
    results = json.loads((out / "results.json").read_text())
    assert list(results["test"]) == ["ctc_greedy", "nar"]
    assert "Traceback" in (out / "log.txt").read_text()


def test_a_language_model_that_fails_leaves_a_bundle(folder, monkeypatch):
    shutil.rmtree(folder / "out")
    monkeypatch.setattr(finish, "make_language_models", run_out_of_memory)
    error = run_tiny(folder, "finetune").error
    assert "error: language model failed (RuntimeError CUDA out of" in error
    found = assert_bundle(folder / "out", "ctc_greedy", "nar", "beam5")
    assert not found.lms.present


def test_a_tuning_that_fails_leaves_a_bundle(folder, monkeypatch):
    shutil.rmtree(folder / "out")
    monkeypatch.setattr(finish, "tune_options", run_out_of_memory)
    error = run_tiny(folder, "finetune", "--lm={order: 2, tune: True}").error
    assert "error: tuning failed (RuntimeError CUDA out of memory." in error
    assert assert_bundle(folder / "out", *MODES).lms.present == {"ngram"}


def test_the_bundle_is_there_before_the_evaluation(folder, monkeypatch):
    """A kill in the middle leaves it, without results on its card."""

    def kill(*arguments):
        assert_bundle(folder / "out")
        raise KeyboardInterrupt

    shutil.rmtree(folder / "out")
    monkeypatch.setattr(finish, "evaluate_splits", kill)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(folder, "finetune")
    assert (
        "Not measured." in (folder / "out" / "bundle" / "README.md").read_text()
    )
