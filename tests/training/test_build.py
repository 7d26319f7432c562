from functools import partial

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.build import (
    check_optimizer,
    load_best,
    make_brain,
    make_logger,
)
from nar_asr_lobes.training.config import LogConfig, OptimConfig, RunConfig
from tests.training.runs import TOKENIZER, make_objective, weights
from tests.training.runs import make_brain as tiny_brain


def test_tensorboard_goes_on_at_the_step_of_a_resume(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    for step in (50, 100):  # each as in a process of its own
        logger = make_logger(LogConfig(tensorboard=True), tmp_path)
        logger.log_stats({"step": step}, {"loss": step / 10}, None)
        logger.inner.writer.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(x.step, x.value) for x in events.Scalars("loss/train")]
    assert points == [(50, 5.0), (100, 10.0)]


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
