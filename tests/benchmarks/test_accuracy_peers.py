"""Trainings of the peers by core-minutes: budget, resume, files, losses."""

import json
import sys
from unittest import mock

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import load_tokenizer
from nar_asr_lobes.decoding.saved_posteriors import SUFFIX, read_posteriors
from nar_asr_lobes.errors import UserError
from tests.benchmarks.accuracy_peers import (
    joint_decode,
    peer_command,
    peer_data,
    peer_training,
    speechbrain_model,
)
from tests.recipes.librispeech_tree import make_lowresource

Budget = peer_training.Budget


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_lowresource(tmp_path_factory.mktemp("data")))


def train(data, folder, layers, *options):
    arguments = [
        "script",
        f"--data_folder={data}",
        "--set=yoruba",
        f"--output_folder={folder}",
        "--minutes=0.03",
        "--precision=fp32",
        *options,
    ]
    with mock.patch.object(sys, "argv", arguments):
        peer_command.main("peer", None, layers)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Two trainings, each stopped after a third and continued."""
    folders = {}
    for name, layers in (("ctc", 0), ("joint", 4)):
        folders[name] = tmp_path_factory.mktemp(name)
        train(data, folders[name], layers, "--stop_after=0.01")
        assert not (folders[name] / "results.json").exists()
        train(data, folders[name], layers)
    return folders


def test_the_rate_follows_the_part_of_the_budget():
    budget = Budget(peak_lr=2.0, warmup=0.1)
    assert budget.lr(0.05) == pytest.approx(1.0)
    assert budget.lr(0.1) == pytest.approx(2.0)
    assert budget.lr(0.55) == pytest.approx(1.01)
    assert budget.lr(1.5) == pytest.approx(0.02)


@pytest.mark.parametrize("name", ["ctc", "joint"])
def test_a_stopped_training_continues_to_the_end_of_its_budget(trained, name):
    results = json.loads((trained[name] / "results.json").read_text())
    assert 0.03 <= results["core_minutes"] < 0.2
    lines = (trained[name] / "curve.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    minutes = [point["core_minutes"] for point in points]
    assert minutes == sorted(minutes) and minutes[-1] >= 0.03
    steps = [point["steps"] for point in points]
    assert steps == sorted(set(steps)) and steps[-1] == results["steps"]


def test_a_checkpoint_holds_all_that_a_training_draws_on(
    data, trained, tmp_path
):
    """Two continuations make the same next step."""
    path = trained["ctc"] / "checkpoint.pt"
    (tmp_path / "checkpoint.pt").write_bytes(path.read_bytes())
    tokenizer = peer_data.make_tokenizer(data, "yoruba")
    split = peer_data.load_split(data, "yoruba", "train", tokenizer)
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        training = peer_training.Training(
            speechbrain_model.SpeechBrainModel(tokenizer.size),
            split,
            split,
            tokenizer,
            tmp_path,
            Budget(precision="fp32"),
        )
        training._step()
        weights.append(training.model.ctc_lin.w.weight.detach().clone())
    assert torch.equal(*weights)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_posteriors_are_those_of_the_split(data, trained, split):
    folder = trained["ctc"]
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    saved = read_posteriors(folder / f"{split}{SUFFIX}", tokenizer)
    rows = peer_data.list_split(data, "yoruba", split)
    assert saved.ids == [row.id for row in rows]
    assert saved.references == [row.text for row in rows]
    for row, utterance in zip(saved.log_probs, rows, strict=True):
        assert torch.allclose(row.exp().sum(-1), torch.ones(len(row)))
        seconds = len(row) * saved.frame_seconds
        assert abs(seconds - utterance.duration) < 0.08


def test_a_training_that_has_not_ended_is_not_decoded(trained, tmp_path):
    tokenizer = load_tokenizer(trained["joint"] / "tokenizer.json")
    with pytest.raises(UserError, match="let its training end first"):
        joint_decode.load_model(tmp_path, tokenizer, 4)


def test_the_ctc_loss_is_that_of_torch():
    torch.manual_seed(0)
    model = speechbrain_model.SpeechBrainModel(7).eval()
    rows = [torch.tensor([1, 2, 2]), torch.tensor([4, 3])]
    wavs, lengths = peer_training.pad([torch.randn(16000), torch.randn(12000)])
    found = model.loss(wavs, lengths, rows, augment=False)
    log_probs = model.ctc(model.encode(wavs, lengths))
    frames = (lengths * log_probs.shape[1]).round().long()
    expected = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.cat(rows),
        frames,
        torch.tensor([3, 2]),
        reduction="sum",
    )
    assert found["loss"].item() == pytest.approx(expected.item() / 2, rel=1e-5)


def test_the_joint_loss_is_the_weighted_cross_entropy():
    torch.manual_seed(0)
    model = speechbrain_model.SpeechBrainModel(7, 1).eval()
    rows = [torch.tensor([1, 2, 2]), torch.tensor([4, 3])]
    wavs, lengths = peer_training.pad([torch.randn(16000), torch.randn(12000)])
    found = model.loss(wavs, lengths, rows, augment=False)
    begin, end = 7, 8
    inputs = torch.tensor([[begin, 1, 2, 2], [begin, 4, 3, 0]])
    outputs = torch.tensor([[1, 2, 2, end], [4, 3, end, -100]])
    frames = model.front_end(wavs, lengths, augment=False)
    _, decoded = model.transformer(frames, inputs, lengths, 0)
    logits = model.seq_lin(decoded).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(
        logits, outputs.flatten(), reduction="sum"
    )
    attention = found["attention"].item()
    assert attention == pytest.approx(expected.item() / 2, rel=1e-5)
    both = 0.3 * found["ctc"].item() + 0.7 * attention
    assert found["loss"].item() == pytest.approx(both, rel=1e-6)


def test_joint_decoding_is_tuned_and_continues(data, trained, capsys):
    """A file cut short gets what it lacks, each utterance once."""
    folder = trained["joint"]
    arguments = [
        "script",
        f"--data_folder={data}",
        "--set=yoruba",
        f"--folder={folder}",
        "--tune_seconds=2",
        "--speed_seconds=2",
        "--splits",
        "dev",
    ]
    path = folder / "dev.hypotheses.jsonl"
    with mock.patch.object(sys, "argv", arguments):
        joint_decode.main()
        whole = path.read_text()
        path.write_text(whole.splitlines()[0] + "\n")
        joint_decode.main()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    expected = [json.loads(line) for line in whole.splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(
        row.id for row in peer_data.list_split(data, "yoruba", "dev")
    )
    assert rows[0] == expected[0]
    tuned = json.loads((folder / "joint_tuning.json").read_text())
    assert tuned["weights"].keys() == {"ctc", "kenlm"}
    speed = json.loads((folder / "speed.json").read_text())
    assert speed["joint_beam10_lm"] > 0
