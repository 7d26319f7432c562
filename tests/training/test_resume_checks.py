"""A resume compares code, precision and clipping, and looks at the disk."""

import re
import subprocess
from pathlib import Path

import pytest

from nar_asr_lobes import __version__
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training import build, metadata
from nar_asr_lobes.training.config import LogConfig, RunConfig
from nar_asr_lobes.training.metadata import code_version
from tests.training.runs import make_brain
from tests.training.tiny_recipe import make_corpus, run_tiny, write_yamls

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh_version():
    """Ask git again."""
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def test_what_may_change_is_told(tmp_path, monkeypatch, fresh_version):
    folder = write_yamls(tmp_path)
    make_corpus(folder / "data")
    options = ["--precision=fp32", "--optim={max_grad_norm: 2.0}"]
    assert run_tiny(folder, "pretrain", *options).code == 0
    assert "from here on" not in run_tiny(folder, "pretrain", *options).out
    monkeypatch.setattr(build, "code_version", lambda: "9.9 abc")
    options = ["--precision=bf16", "--optim={max_grad_norm: 3.0}"]
    outcome = run_tiny(folder, "pretrain", *options)
    assert outcome.code == 0
    told = re.findall("was made with (.*); from here on (.*)", outcome.out)
    assert sorted(told) == [
        (f"code {code_version()}", "it is 9.9 abc"),
        ("max_grad_norm 2.0", "it is 3.0"),
        ("precision fp32", "it is bf16"),
    ]


def test_the_code_is_named_by_its_commit(monkeypatch, fresh_version):
    if not (ROOT / ".git").exists():
        pytest.skip("no work tree")
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True)
    version, described = code_version().split()
    assert version == __version__
    assert commit.stdout.startswith(described.removesuffix("-dirty"))


def test_without_git_the_version_is_enough(monkeypatch, fresh_version):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(metadata.subprocess, "run", missing)
    assert code_version() == __version__


def test_a_run_without_room_for_a_checkpoint_is_refused(tmp_path, monkeypatch):
    model = make_brain("pretrain", tmp_path / "checkpoints", 1).model
    config = RunConfig(
        "pretrain", "data", str(tmp_path), steps=7, logging=LogConfig()
    )
    one = build._checkpoint_bytes(model)
    assert build._space_needed(config, model) == 4 * one
    monkeypatch.setattr(build, "free_space", lambda path: one)
    build.check_space(config, model)
    monkeypatch.setattr(build, "free_space", lambda path: one - 1)
    with pytest.raises(UserError, match="a checkpoint takes about 0 MB, but 0"):
        build.check_space(config, model)
    left = tmp_path / "checkpoints" / ".step_00000003.tmp"
    left.mkdir(parents=True)
    (left / "model.pt").write_bytes(b"x")
    build.check_space(config, model)  # the next save removes it
    (left / "model.pt").unlink()
    (tmp_path / "checkpoints" / "step_00000007").mkdir()
    build.check_space(config, model)  # nothing more to save
