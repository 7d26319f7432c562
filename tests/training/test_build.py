from dataclasses import replace
from functools import partial

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training import build
from nar_asr_lobes.training.build import (
    make_brain,
)
from nar_asr_lobes.training.config import LogConfig, OptimConfig, RunConfig
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from tests.training.runs import TOKENIZER, make_loader, make_objective, weights
from tests.training.runs import make_brain as tiny_brain

SCHEDULER = partial(WarmupCosine, 1e-3)


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
    brain.load_best()
    model = brain.model
    assert torch.equal(model.ctc_head.bias, kept[1])
    assert not model.training


def test_without_any_validation_the_newest_is_loaded(tmp_path):
    brain = tiny_brain("finetune", tmp_path, 9)
    brain.on_fit_start()
    brain.save()
    kept = weights(brain)
    torch.nn.init.zeros_(brain.model.ctc_head.weight)
    brain.load_best()
    model = brain.model
    assert torch.equal(model.ctc_head.weight, kept["ctc_head.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": partial(torch.optim.SGD, lr=-1.0)},
            "optimizer: Invalid",
        ),
        (
            {"optimizer": partial(torch.optim.SGD, momentums=0.9)},
            "optimizer: .*'momentums'; correct it",
        ),
        (
            {"optimizer": torch.optim.LBFGS},
            "optimizer: LBFGS doesn't support per-parameter .*; correct it",
        ),
        ({"optimizer": list}, "optimizer: .*'param_groups'; correct it"),
        ({"scheduler": dict}, "scheduler: .*'step'; correct it"),
        (
            {"scheduler": torch.optim.lr_scheduler.ConstantLR},
            "scheduler: .*'steps'; correct it as in the recipe",
        ),
        (
            {"scheduler": partial(WarmupCosine, 1e-3, warmup_ratio=2)},
            "scheduler: warmup_ratio is 2; it must be a finite",
        ),
    ],
)
def test_a_part_that_cannot_be_made_is_told(tmp_path, changes, message):
    parts = {"optimizer": torch.optim.AdamW, "scheduler": SCHEDULER, **changes}
    optim = OptimConfig(**parts)
    config = RunConfig("pretrain", "data", str(tmp_path), optim=optim)
    with pytest.raises(UserError, match=f"^optim: {message}"):
        build.try_parts(config)


@pytest.mark.parametrize("missing", ["optim", "objective"])
def test_a_missing_section_is_named(tmp_path, missing):
    sections = {
        "optim": OptimConfig(torch.optim.AdamW, SCHEDULER),
        "objective": partial(type(make_objective("finetune"))),
        missing: None,
    }
    config = RunConfig("finetune", "data", str(tmp_path), **sections)
    with pytest.raises(UserError, match=f"section '{missing}' is missing"):
        make_brain(config, TOKENIZER, None)


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_the_estimate_is_what_checkpoints_take(kind, tmp_path, tone_clips):
    brain = tiny_brain(kind, tmp_path / "checkpoints", 1)
    brain.fit(make_loader(kind, tone_clips, 1))
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    size = sum(file.stat().st_size for file in checkpoint.iterdir())
    config = RunConfig(kind, "data", str(tmp_path), logging=LogConfig())
    need = build._space_needed(config, brain.model)
    bundles = 2 * (checkpoint / "model.pt").stat().st_size
    most = 4 * size + bundles * (kind == "finetune")
    assert 0.8 * most < need <= most


def test_too_little_space_is_told(tmp_path, tone_clips, monkeypatch, caplog):
    caplog.set_level("WARNING")  # whatever another test has set
    brain = tiny_brain("pretrain", tmp_path / "checkpoints", 1)
    config = RunConfig("pretrain", "data", str(tmp_path), logging=LogConfig())
    need = build._space_needed(config, brain.model)
    monkeypatch.setattr(build, "free_space", lambda path: need - 1)
    build.check_space(config, brain.model)
    told = build.describe_size(need)
    assert f"will need about {told} more, but {told} are free" in caplog.text
    caplog.clear()
    brain.fit(make_loader("pretrain", tone_clips, 1))
    build.check_space(config, brain.model)  # some of it is there by now
    assert not caplog.text
    more = replace(config, logging=LogConfig(keep_checkpoints=9))
    build.check_space(more, brain.model)
    assert "will need about" in caplog.text
