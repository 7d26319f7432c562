from dataclasses import replace
from functools import partial

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.training.assemble import (
    check_optimizer,
    load_best,
    load_pretrained,
    make_brain,
    make_logger,
)
from nar_asr_lobes.training.config import LogConfig, OptimConfig, RunConfig
from tests.training.runs import (
    TOKENIZER,
    make_objective,
    weights,
)
from tests.training.runs import (
    make_brain as tiny_brain,
)


@pytest.fixture
def pretrained(tmp_path):
    """A pre-training's output folder, and its weights."""
    facts = {"model": ModelConfig.tiny().to_dict()}
    folder = tmp_path / "checkpoints"
    brain = tiny_brain("pretrain", folder, 1, facts=facts)
    brain.on_fit_start()
    brain.save()
    return tmp_path, weights(brain)


def recogniser(**sizes):
    config = replace(ModelConfig.tiny(), **sizes)
    return make_objective("finetune").build_model(config)


def test_only_the_encoder_is_taken_over(pretrained):
    folder, theirs = pretrained
    model = recogniser()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_pretrained(model, str(folder), {"tokenizer": "a"})
    for name, value in model.state_dict().items():
        wanted = theirs if name.startswith("encoder.") else before
        assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize(
    ("facts", "parts"),
    [
        ({"tokenizer": "a"}, ("encoder.", "ctc_head.", "decoder.")),
        ({"tokenizer": "b"}, ("encoder.",)),
        ({"tokenizer": "a", "phones": "p t"}, ("encoder.", "ctc_", "decoder.")),
    ],
)
def test_what_means_the_same_comes_along(facts, parts, tmp_path):
    theirs = {"model": ModelConfig.tiny().to_dict(), "tokenizer": "a"}
    brain = tiny_brain("finetune", tmp_path / "checkpoints", 1, facts=theirs)
    brain.on_fit_start()
    brain.save()
    torch.manual_seed(99)
    model = recogniser()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_pretrained(model, str(tmp_path), facts)
    for name, value in model.state_dict().items():
        wanted = weights(brain) if name.startswith(parts) else before
        assert torch.equal(value, wanted[name]), name


def test_a_decoder_of_other_sizes_stays(tmp_path):
    facts = {"model": ModelConfig.tiny().to_dict(), "tokenizer": "a"}
    brain = tiny_brain("finetune", tmp_path / "checkpoints", 1, facts=facts)
    brain.on_fit_start()
    brain.save()
    model = recogniser(decoder_layers=2)
    before = model.decoder.state_dict()["layers.1.ffn.0.weight"].clone()
    load_pretrained(model, str(tmp_path), facts)
    after = model.decoder.state_dict()["layers.1.ffn.0.weight"]
    assert torch.equal(after, before)
    assert torch.equal(model.ctc_head.bias, brain.model.ctc_head.bias)


def test_tensorboard_goes_on_at_the_step_of_a_resume(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    for step in (50, 100):  # each as in a process of its own
        logger = make_logger(LogConfig(tensorboard=True), tmp_path)
        logger.log_stats({"step": step}, {"loss": step / 10}, None)
        logger.writer.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(x.step, x.value) for x in events.Scalars("loss/train")]
    assert points == [(50, 5.0), (100, 10.0)]


@pytest.mark.parametrize(
    "sizes", [{"ffn_dim": 48}, {"encoder_layers": 3}, {"stem": "wav2vec2"}]
)
def test_an_encoder_of_other_sizes_is_refused(pretrained, sizes):
    with pytest.raises(UserError, match="its encoder has other sizes than"):
        load_pretrained(recogniser(**sizes), str(pretrained[0]), {})


def test_another_number_of_heads_is_refused(pretrained):
    """The tensors are of the same shapes and mean something else."""
    with pytest.raises(UserError, match="has heads 2, this model 4; use the"):
        load_pretrained(recogniser(heads=4), str(pretrained[0]), {})


def test_audio_that_is_read_otherwise_is_refused(pretrained):
    with pytest.raises(UserError, match="normalize_audio True, this model Fal"):
        load_pretrained(
            recogniser(normalize_audio=False), str(pretrained[0]), {}
        )


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no whole checkpoint; run pre"):
        load_pretrained(recogniser(), str(tmp_path), {})


def test_the_best_weights_are_loaded_and_rest(tmp_path):
    brain = tiny_brain("finetune", tmp_path, 9)
    brain.on_fit_start()
    kept = []
    for step, score in enumerate([0.5, 0.2, 0.4]):
        with torch.no_grad():
            brain.model.ctc_head.bias += 1
        brain.progress.step = step + 1
        brain.save(score)
        kept.append(brain.model.ctc_head.bias.clone())
    model = load_best(brain)
    assert torch.equal(model.ctc_head.bias, kept[1])
    assert not model.training


def test_without_any_validation_the_newest_is_loaded(tmp_path):
    brain = tiny_brain("finetune", tmp_path, 9)
    brain.on_fit_start()
    brain.save()
    kept = weights(brain)
    torch.nn.init.zeros_(brain.model.ctc_head.weight)
    model = load_best(brain)
    assert torch.equal(model.ctc_head.weight, kept["ctc_head.weight"])


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"momentums": 0.9}], ids=str)
def test_an_optimiser_that_cannot_be_made_is_told(options):
    with pytest.raises(UserError, match="optim: optimizer: .*; correct it"):
        check_optimizer(partial(torch.optim.SGD, **{"lr": 0.1, **options}))


@pytest.mark.parametrize("missing", ["optim", "objective"])
def test_a_missing_section_is_named(tmp_path, missing):
    sections = {
        "optim": OptimConfig(torch.optim.AdamW),
        "objective": partial(type(make_objective("finetune"))),
        missing: None,
    }
    config = RunConfig("finetune", "data", str(tmp_path), **sections)
    with pytest.raises(UserError, match=f"section '{missing}' is missing"):
        make_brain(config, TOKENIZER, None)
