"""From published weights to a bundle, through the YAMLs as they stand."""

import pytest
import torch

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.transcriber import Transcriber
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.published_models import make_published, save_published
from tests.recipes.librispeech_tree import make_arabic_commands
from tests.recipes.running import TINY, run

STEPS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data and an imported encoder."""
    root = tmp_path_factory.mktemp("imported")
    make_arabic_commands(root / "data")
    source = save_published(make_published("wavlm-base"), root / "source", True)
    output = str(root / "encoder")
    assert main(["import-encoder", str(source), "--output", output]) == 0
    return root


def train(folder, task, start):
    """Run a task with the one key that names the encoder."""
    output = folder / f"{task}-from-{start}"
    outcome = run(
        "ArabicCommands",
        task,
        f"--data_folder={folder / 'data'}",
        f"--output_folder={output}",
        "--debug_utterances=8",
        "--global_batch=4",
        f"--steps={STEPS}",
        TINY,
        f"--init_from={folder / start}",
    )
    assert outcome.code == 0, outcome.err
    return output


def test_pretraining_goes_on_and_finetuning_ends_in_a_bundle(folder):
    log = (train(folder, "pretrain", "encoder") / "log.txt").read_text()
    assert "step_00000000: encoder.\n" in log
    assert "imported from wavlm source" in log
    output = train(folder, "finetune", "pretrain-from-encoder")
    bundle = load_bundle(output / "bundle")
    sizes = bundle.model.config
    assert (sizes.encoder, sizes.d_model, sizes.heads) == ("wav2vec2", 32, 4)
    assert sizes.position_buckets == 320 and not sizes.norm_first
    assert (sizes.decoder_layers, sizes.inter_ctc_layers) == (1, [1])
    # Trained on, not begun again: a few small steps from the source.
    found = bundle.model.state_dict()
    start = CheckpointFolder(folder / "encoder" / "checkpoints").newest()
    moved = {
        name: (found[name] - value).abs().max().item()
        for name, value in start.load("model").items()
    }
    assert 0 < max(moved.values()) < 0.02
    clips = read_manifest(output / "manifests" / "test.jsonl")
    [text] = Transcriber(bundle).transcribe([clips[0].audio])
    assert text.error is None


def test_finetuning_starts_from_the_import_alone(folder):
    newest = CheckpointFolder(
        train(folder, "finetune", "encoder") / "checkpoints"
    ).newest()
    assert newest.step == STEPS
    assert newest.metadata["model"]["encoder"] == "wav2vec2"
    weights = newest.load("model").values()
    assert all(torch.isfinite(weight).all() for weight in weights)
