"""A run says before it starts that its disk is too small."""

from dataclasses import replace

import pytest

from nar_asr_lobes.training import space
from nar_asr_lobes.training.config import LogConfig, RunConfig
from tests.training.runs import make_brain, make_loader


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_the_estimate_is_what_checkpoints_take(kind, tmp_path, tone_clips):
    brain = make_brain(kind, tmp_path / "checkpoints", 1)
    brain.fit(make_loader(kind, tone_clips, 1))
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    size = sum(file.stat().st_size for file in checkpoint.iterdir())
    config = RunConfig(kind, "data", str(tmp_path), logging=LogConfig())
    need = space.space_needed(config, brain.model)
    bundles = 2 * (checkpoint / "model.pt").stat().st_size
    most = 4 * size + bundles * (kind == "finetune")
    assert 0.8 * most < need <= most


def test_too_little_space_is_told(tmp_path, tone_clips, monkeypatch, caplog):
    brain = make_brain("pretrain", tmp_path / "checkpoints", 1)
    config = RunConfig("pretrain", "data", str(tmp_path), logging=LogConfig())
    need = space.space_needed(config, brain.model)
    monkeypatch.setattr(space, "free_space", lambda path: need - 1)
    space.warn_of_space(config, brain.model)
    told = space.describe_size(need)
    assert f"will need about {told} more, but {told} are free" in caplog.text
    caplog.clear()
    brain.fit(make_loader("pretrain", tone_clips, 1))
    space.warn_of_space(config, brain.model)  # some of it is there by now
    assert not caplog.text
    more = replace(config, logging=LogConfig(keep_checkpoints=9))
    space.warn_of_space(more, brain.model)
    assert "will need about" in caplog.text
