"""Counters, timers, console and train logs of a run."""

import io
import logging
import re

import pytest

from nar_asr_lobes.training.config import LogConfig
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from nar_asr_lobes.training.progress import (
    Progress,
    Timer,
    TrainLog,
    _describe_step,
    make_logger,
)
from tests.training.tiny_recipe import (
    make_corpus,
    run_tiny,
    write_yamls,
)

SCHEDULE = WarmupCosine(1e-3, 2)
STEP = {"loss": 2.0, "lr": 1e-3, "grad_norm": 0.5}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Console output of a fine-tuning of four steps."""
    folder = write_yamls(tmp_path_factory.mktemp("console"))
    make_corpus(folder / "data")
    options = ["--steps=4", "--logging={log_interval: 2, valid_interval: 2}"]
    outcome = run_tiny(folder, "finetune", *options)
    assert outcome.code == 0 and outcome.err == ""
    return outcome.out


def test_a_pipe_gets_a_line_every_log_interval(told):
    lines = re.findall(
        r"^step (\d) of 4: loss \d+\.\d{3} lr \S+ norm \S+ \d+ audio-h/h, "
        r"\S+ steps/s, 0:\d\d:\d\d left$",
        told,
        re.MULTILINE,
    )
    assert lines == ["2", "4"]
    assert re.findall(r"step (\d), dev split: ctc \d", told) == ["2", "4"]


def test_no_python_objects_and_no_other_programs_talk(told):
    assert not re.search(r"\w\(\w+=|PosixPath|\w+\.\w+ - ", told), told
    for word in ("quirk", "experiment", "precision", "Parameters", "skipped_"):
        assert word not in told
    ngram = r"^n-gram: order 2, \d+ n-grams of \d+ pieces in 10 lines: \S+"
    assert re.search(ngram + "lm.ngram$", told, re.MULTILINE)
    assert re.search(r"^best checkpoint: \S+ \(cer \d\.\d{3}\)$", told, re.M)


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch, caplog):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    progress = Progress(step=0)
    with (
        caplog.at_level(logging.INFO),
        TrainLog(progress, SCHEDULE, bar=True) as shown,
    ):
        progress.step += 1
        shown.step({**STEP, "skipped": 0.0})
        shown.line()
    assert "1/2" in terminal.getvalue() and "loss 2.000" in terminal.getvalue()
    assert not caplog.text
    with caplog.at_level(logging.INFO), TrainLog(progress, SCHEDULE) as shown:
        progress.step += 1
        shown.step({**STEP, "skipped": 0.0})
        shown.line()
    assert "step 2 of 2: loss 2.000" in caplog.text


def test_steps_that_were_all_skipped_have_no_loss():
    assert _describe_step({"lr": 1e-3}, 0.0, 1.0) == (
        "loss nan lr 1.0e-03 norm nan"
    )


def test_a_stage_that_fails_is_timed_and_not_called_done(caplog):
    seconds = {}
    with caplog.at_level(logging.INFO):
        with Timer("good", seconds):
            pass
        with pytest.raises(ValueError), Timer("bad", seconds):
            raise ValueError
    assert set(seconds) == {"good", "bad"}
    assert "good: done in" in caplog.text and "bad: start" in caplog.text
    assert "bad: done" not in caplog.text


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
