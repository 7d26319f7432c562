"""Every YAML of every recipe runs: a few steps on data made here."""

import json
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch

from nar_asr_lobes.dataio.audio.reading import audio_info
from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.decoding.modes import DecodingOptions, available_modes
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    read_posteriors,
)
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.transcriber import Transcriber
from nar_asr_lobes.pretrained.encoder import import_encoder
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import BUNDLE_TASKS
from nar_asr_lobes.training.hparams import _read_yaml, load_run
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from tests.checkpoint_files import make_file
from tests.recipes.corpus_trees import (
    make_afrispeech,
    make_commonvoice,
    make_dictation,
    make_librilight,
    make_librispeech_and_labels,
    make_manifests,
    make_multi,
    make_primock,
    make_voxpopuli,
)
from tests.recipes.librispeech_tree import (
    make_arabic_commands,
    make_lowresource,
    make_speechocean,
)
from tests.recipes.running import RECIPES, TINY, nar_asr, run, yaml_of

TASKS = ("pretrain", "finetune", "evaluate")
# What each recipe needs besides the options of all: its data, and keys.
MAKERS = {
    "LibriSpeech": make_librispeech_and_labels,
    "Synthetic": lambda root: root,
    "ArabicCommands": make_arabic_commands,
    "Speechocean762": make_speechocean,
    "LowResource": make_lowresource,
    "CommonVoice": make_commonvoice,
    "CustomManifest": make_manifests,
    "PriMock57": make_primock,
    "LibriLight": make_librilight,
    "VoxPopuli": make_voxpopuli,
    "AfriSpeech200": make_afrispeech,
    "MedicalDictation": make_dictation,
    "Multi": make_multi,
}
SYNTHETIC = "{train: 9, dev: 3, test: 3, extra: 1, lm_sentences: 60}"
FULL_SCALE = {
    "pretrain": ["--data={workers: 0}"],
    "finetune": ["--data={workers: 0}", "--tokenizer={size: 12}"],
    "finetune_10h": ["--data={workers: 0}"],
    "replay": ["--data={workers: 0}"],
}
EXTRA = {
    **dict.fromkeys(("LibriSpeech", "VoxPopuli", "Multi"), FULL_SCALE),
    "LibriLight": {task: ["--data={workers: 0}"] for task in TASKS[:2]},
    "Synthetic": {task: [f"--data={{options: {SYNTHETIC}}}"] for task in TASKS},
    "LowResource": {
        "pretrain": ["--data={min_seconds: 0.1}"],
        "finetune": ["--modes=null"],
        "evaluate": ["--modes=null"],
        "label": [
            "--data={options: {minutes: 0.2}}",
            # a model of three steps says nothing else
            "--decoding={beam5_lm: {token_bonus: 8.0}}",
        ],
        "published": ["--freeze_layers=1"],
    },
}
ROWS = [(recipe, task) for recipe in MAKERS for task in TASKS]
FURTHER = ("label", "selftrain", "transfer", "published")
ROWS += [("LowResource", task) for task in FURTHER]
ROWS += [("LibriSpeech", "finetune_10h"), ("Multi", "replay")]
STEPS = 3
DAMAGED = {"MedicalDictation": 1, "Multi": 1}  # files that are left out
FAULTS = {  # that validate finds, such as the same text and audio in two splits
    "LibriSpeech": 2,
    "ArabicCommands": 16,
    "Speechocean762": 9,
    "LowResource": 1,
    "CustomManifest": 4,
    "LibriLight": 1,
    "VoxPopuli": 3,
    "AfriSpeech200": 1,
    "MedicalDictation": 1,
    "Multi": 1,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a function that runs a YAML, and those it builds on, once."""
    root = tmp_path_factory.mktemp("recipes")

    @cache
    def data(recipe):
        return MAKERS[recipe](root / recipe / "data")

    @cache
    def outcome(recipe, task):
        if recipe == "Synthetic":
            pytest.importorskip("espeakng_loader", reason="no extra demo")
        folder = root / recipe
        if task == "validate":
            yaml, extra = yaml_of(recipe, "finetune"), EXTRA.get(recipe, {})
            options = [x for x in extra.get("finetune", []) if "--data" in x]
            report = folder / "faults.json"
            options += [f"--data_folder={data(recipe)}", f"--output={report}"]
            return report, nar_asr(task, yaml, TINY, *options)
        options = [
            f"--data_folder={data(recipe)}",
            f"--output_folder={folder / task}",
            "--debug_utterances=8",
            *EXTRA.get(recipe, {}).get(task, []),
        ]
        if task in BUNDLE_TASKS:
            outcome(recipe, "finetune")
            options += [f"--bundle={folder / 'finetune' / 'bundle'}"]
        else:
            options += [f"--steps={STEPS}", "--global_batch=4"]
        if task in ("pretrain", "finetune", "finetune_10h", "replay"):
            options += [TINY]
        if task == "replay":
            outcome(recipe, "finetune")
            options += [
                f"--init_from={folder / 'finetune'}",
                f"--tokenizer={{path: {folder / 'finetune'}}}",
            ]
        if task in ("finetune", "finetune_10h"):
            outcome(recipe, "pretrain")
            options += [f"--init_from={folder / 'pretrain'}"]
        if task == "selftrain":
            labels = outcome(recipe, "label")[0] / "labels.jsonl"
            options += [
                f"--data={{options: {{language: yoruba, labels: {labels}}}}}",
                f"--tokenizer={{path: {folder / 'finetune'}}}",
            ]
        if task == "published":
            make_file("fairseq2-large", root / "published.pt")
            import_encoder(root / "published.pt", root / "imported")
            options += [f"--init_from={root / 'imported'}"]
        if task in TASKS[:2]:
            yaml = yaml_of(recipe, task)
            prepared = nar_asr("prepare", yaml, *options, "--processes=1")
            assert prepared.code == 0, prepared.err
        return folder / task, run(recipe, task, *options)

    return outcome


def test_every_yaml_has_a_row():
    found = {
        (path.parent.parent.name, path.stem)
        for path in RECIPES.glob("*/hparams/*.yaml")
    }
    of_their_own = {("LM", "train")}  # test_lm, test_pretraining100k
    of_their_own |= {("Pretraining100k", x) for x in ("pretrain", "one_gpu")}
    assert found == {*ROWS, *of_their_own}


@pytest.mark.parametrize(("recipe", "task"), ROWS)
def test_yaml_runs_to_the_end(runs, recipe, task):
    folder, outcome = runs(recipe, task)
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    left_out = (folder / "left_out.txt").read_text().splitlines()
    assert len(left_out) == DAMAGED.get(recipe, 0)
    if task in TASKS[:2]:  # prepared before
        assert f"audio files: {len(left_out)} readings, and" in outcome.out
    resolved = _read_yaml(folder / "hyperparams.yaml")
    assert resolved["output_folder"] == str(folder)
    assert "prepare: done in" in (folder / "log.txt").read_text()
    if task not in BUNDLE_TASKS:
        assert outcome.losses and all(map(math.isfinite, outcome.losses))
        check_loss(recipe, task, outcome.out)
        newest = CheckpointFolder(folder / "checkpoints").newest()
        assert newest.step == STEPS
        assert math.isfinite(newest.metadata["score"])
        weights = newest.load("model").values()
        assert all(torch.isfinite(weight).all() for weight in weights)
        seconds = json.loads((folder / "seconds.json").read_text())
        assert seconds[resolved["task"]] > 0
        assert list(folder.glob("tensorboard/events*")) or (
            "loss: " in (folder / "train_log.txt").read_text()
        )


def check_loss(recipe: str, task: str, out: str) -> None:
    """Bound the loss on dev, in nats: of a code, by chance; of a token."""
    name, value = re.findall(r"dev split: (\w+) (\S+),", out)[-1]
    bounds = 0.3, 20
    if name == "best_rq":
        chance = math.log(config(recipe, task).objective.codes)
        bounds = 0.5 * chance, 1.2 * chance
    assert bounds[0] < float(value) < bounds[1], f"{name} {value}"


@pytest.mark.parametrize("recipe", MAKERS)
def test_the_faults_of_the_corpus_are_found(runs, recipe):
    report, outcome = runs(recipe, "validate")
    faults = json.loads(report.read_text())["faults"]
    assert faults == FAULTS.get(recipe, 0), outcome.out
    assert outcome.code == (faults > 0)


@pytest.mark.parametrize("recipe", MAKERS)
def test_finetuning_ends_in_numbers_and_a_bundle(runs, recipe):
    folder, _ = runs(recipe, "finetune")
    results = check_results(folder, recipe)
    for split in results:
        files = {
            path.stem for path in (folder / "alignments" / split).iterdir()
        }
        assert files == {*results[split], "left_out"}
    clips = read_manifest(folder / "manifests" / f"{next(iter(results))}.jsonl")
    bundle = load_bundle(folder / "bundle")
    transcriber = Transcriber(bundle)
    [found] = transcriber.transcribe([clips[0].audio])
    assert transcriber.mode == list(results[split])[-1]
    assert found.error is None
    seconds = audio_info(clips[0].audio).seconds  # a clip may be a part of it
    assert found.seconds == pytest.approx(seconds, abs=1e-3)
    dev = config(recipe, "finetune").data.dev
    saved = read_posteriors(folder / f"{dev}{SUFFIX}", bundle.tokenizer)
    clips = read_manifest(folder / "manifests" / f"{dev}.jsonl")
    assert dict(zip(saved.ids, saved.references, strict=True)) == {
        clip.id: clip.text for clip in clips
    }


@pytest.mark.parametrize("recipe", MAKERS)
def test_evaluation_of_the_bundle_gives_the_same_numbers(runs, recipe):
    wanted = check_results(runs(recipe, "finetune")[0], recipe)
    found = check_results(runs(recipe, "evaluate")[0], recipe)
    for numbers in (wanted, found):
        for modes in numbers.values():
            for mode in modes.values():
                assert mode.pop("rtf") > 0
    shared = found.keys() & wanted.keys()
    assert shared
    assert all(found[split] == wanted[split] for split in shared)


def check_results(folder: Path, recipe: str) -> dict:
    """Read results.json; its splits and modes are those of the YAML."""
    results = json.loads((folder / "results.json").read_text())
    assert list(results) == config(recipe, folder.name).data.test
    trained = config(recipe, "finetune").objective.keywords
    parts = {"ngram", "decoder"} if trained["decoder_weight"] else {"ngram"}
    for modes in results.values():
        assert list(modes) == available_modes(parts)
        for numbers in modes.values():
            assert numbers["utterances"] > 0
            assert 0 <= numbers["wer"] < math.inf
    return results


@cache
def config(recipe: str, task: str):
    """Read a YAML as it stands in the tree, with nothing overridden."""
    path = RECIPES / recipe / "hparams" / f"{task}.yaml"
    return load_run(path, "data_folder: x")


def masks(objective) -> tuple[int, int]:
    """The numbers of frequency and time masks of an objective."""
    keywords = getattr(objective, "keywords", None) or vars(objective)
    augment = keywords["spec_augment"]
    return augment.freq_masks, augment.time_masks


def test_librispeech_states_the_full_pretraining():
    run = config("LibriSpeech", "pretrain")
    assert run.task == "pretrain" and run.data.train == "pool"
    assert run.global_batch == 2048
    assert masks(run.objective) == (2, 2)
    optim = run.optim
    assert optim.optimizer.func is torch.optim.AdamW
    assert optim.max_grad_norm == 1.0
    schedule = optim.scheduler(steps=run.steps)
    assert type(schedule) is WarmupCosine
    steps = [0, run.steps // 20, run.steps // 10, run.steps]
    rates = [schedule.lr_at(step) for step in steps]
    assert rates == pytest.approx([0, 2.5e-4, 5e-4, 1e-6])


def test_librispeech_states_the_full_finetuning():
    run = config("LibriSpeech", "finetune")
    assert run.task == "finetune" and run.init_from == "results/pretrain"
    assert run.optim.scheduler(steps=9).peak_lr == run.peak_lr == 1e-5
    assert run.optim.optimizer.func is torch.optim.AdamW
    assert run.optim.max_grad_norm == 1.0
    assert masks(run.objective) == (2, 2)
    options = DecodingOptions.from_dict(run.decoding)
    assert options.beam5.beam_size == options.beam5_lm.beam_size == 5
    assert run.lm.tune and run.modes is None
    pretrain = config("LibriSpeech", "pretrain")
    assert run.model == pretrain.model


def test_published_weights_learn_slowly_under_fast_heads():
    path = RECIPES / "LowResource" / "hparams" / "published.yaml"
    run = load_run(path, "data_folder: x\ninit_from: x")
    assert run.optim.scheduler(steps=9).peak_lr == 1e-5
    assert run.optim.head_lr_scale == 20
    assert run.freeze == "frontend"
    assert 0 < run.optim.freeze_encoder_steps < run.steps


@pytest.mark.parametrize("task", ["finetune", "evaluate"])
def test_librispeech_is_tested_on_both_official_sets(task):
    run = config("LibriSpeech", task)
    assert run.data.test == ["test-clean", "test-other"]
    assert run.data.text_style == "english"
