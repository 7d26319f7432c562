"""Counted parameters and operations against torch's, on models built here."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import SpeechEncoder
from nar_asr_lobes.objectives.best_rq import BestRq
from nar_asr_lobes.planning.cost import PretrainModel, pretrain_model
from nar_asr_lobes.training.hparams import load_run
from tests.recipes.running import RECIPES, yaml_of

SIZES = ModelConfig.tiny()
LARGER = replace(SIZES, d_model=48, ffn_dim=80, encoder_layers=3, heads=4)
MODELS = RECIPES.parent / "hparams" / "model"


def backward_of_convolution(grad, x, weight, *rest, out_shape=None):
    """Count each of the asked-for gradients like the forward pass.

    torch 2.11 counts those of the weights of grouped convolutions as often as
    there are groups.
    """
    once = 2 * math.prod(grad) * math.prod(weight[1:])
    return once * sum(rest[-1][:2])


COUNT = {torch.ops.aten.convolution_backward: backward_of_convolution}


def built(model):
    """Build the model, frozen as it says."""
    found = BestRq(model.config, model.codebooks, model.codes)
    if model.frozen != "none":
        found.encoder.frontend.freeze(model.frozen)
    return found


@pytest.mark.parametrize("frozen", ["none", "filters", "frontend"])
@pytest.mark.parametrize("sizes", [SIZES, LARGER])
def test_tensors_are_those_of_the_model(sizes, frozen):
    model = PretrainModel(sizes, 2, 64, 1.0, frozen)
    weights = list(built(model).parameters())
    assert sum(x.numel() for x in weights) == model.parameters
    trained = [x.numel() for x in weights if x.requires_grad]
    assert trained == model.trained_tensors()


@pytest.mark.parametrize("frozen", ["none", "filters", "frontend"])
@pytest.mark.parametrize("sizes", [SIZES, LARGER])
@pytest.mark.parametrize("seconds", [2.0, 7.31])
def test_operations_are_those_that_torch_counts(sizes, frozen, seconds):
    model = PretrainModel(sizes, 2, 64, 0.5, frozen)
    net = built(model)
    frames = model.frames(seconds)
    wavs = torch.randn(1, round(seconds * 16000))
    mask = torch.zeros(1, frames, dtype=torch.bool)
    positions = torch.arange(frames // 2)
    assert net.output_lengths(torch.tensor(wavs.shape[1])) == frames
    # The counter does not know the CPU's fused attention.
    counter = FlopCounterMode(display=False, custom_mapping=COUNT)
    with sdpa_kernel(SDPBackend.MATH), counter as both:
        with FlopCounterMode(display=False) as forward:
            out = net(wavs, torch.ones(1), mask, positions)
        out.logits.float().logsumexp(-1).sum().backward()
    found = model.operations(seconds)
    assert found.forward == pytest.approx(forward.get_total_flops(), rel=0.01)
    assert found.total == pytest.approx(both.get_total_flops(), rel=0.01)


def test_the_model_of_64_gpus_has_two_billion_parameters():
    model = pretrain_model(load_run(yaml_of("Pretraining100k", "pretrain")))
    with torch.device("meta"):
        encoder = SpeechEncoder(model.config)
        classifier = nn.Linear(
            model.config.d_model, model.codebooks * model.codes
        )
    weights = [*encoder.parameters(), *classifier.parameters()]
    assert all(x.device.type == "meta" for x in weights)
    assert sum(x.numel() for x in weights) == model.parameters
    assert 1e9 < model.parameters < 2.1e9


def test_masked_frames_are_counted_where_no_others_are_predicted():
    full = load_run(yaml_of("LibriSpeech", "pretrain"), "data_folder: x")
    assert pretrain_model(full).predicted == pytest.approx(0.393, abs=1e-3)
    small = load_run(yaml_of("VoxPopuli", "pretrain"), "data_folder: x")
    small.objective.unmasked = {"unmasked": 1.0}
    assert pretrain_model(small).predicted == 1.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            "objective: !include:../../../hparams/objective/wav2vec2.yaml",
            "BEST",
        ),
        ("model: {stem: wav2vec2}", "gabor"),
        ("freeze_layers: 1", "freeze_layers"),
    ],
)
def test_other_runs_are_refused(overrides, words):
    run = load_run(yaml_of("Pretraining100k", "pretrain"), overrides)
    with pytest.raises(UserError, match=words):
        pretrain_model(run)
