"""Curves from the lines that SpeechBrain's file logger writes."""

import pytest
from speechbrain.utils.train_logger import FileTrainLogger

from nar_asr_lobes.report.train_log import read_curves


def test_lines_of_the_logger_are_read(tmp_path):
    path = tmp_path / "train_log.txt"
    logger = FileTrainLogger(str(path), precision=3)
    for step, loss, rate in ((50, 250.0, 1e-5), (100, 2.25, 0.5), (150, 1, 2)):
        meta = {"step": step, "skipped_steps": 0}
        logger.log_stats(meta, {"loss": loss, "lr": rate}, verbose=False)
    meta = {"step": 100, "skipped_steps": 0}
    for wer in (0.75, 0.5):
        logger.log_stats(meta, None, {"loss": wer, "wer": wer}, verbose=False)
    loss, rate = read_curves(path.read_text().splitlines())
    assert (loss.name, rate.name) == ("loss", "lr")
    assert loss.train == [[50, 250.0], [100, 2.25], [150, 1.0]]
    assert loss.valid == [[100, 0.5]]  # as after a resume: the last one
    assert rate.train == [[50, 1e-5], [100, 0.5], [150, 2.0]]


def test_other_lines_and_values_are_left_out():
    lines = ["", "hello: 3", "step: 1, skipped_steps: 0 - train loss: nan"]
    lines += [
        f"step: {n}, x: 0 - train loss: {n}.5, train a: 1" for n in (2, 3)
    ]
    [curve] = read_curves(lines)
    assert (curve.name, curve.train) == ("loss", [[2, 2.5], [3, 3.5]])


@pytest.mark.parametrize(("steps", "points"), [(1000, 1000), (1001, 501)])
def test_long_curves_are_means(steps, points):
    lines = [f"step: {n}, x: 0 - train loss: {n}.0" for n in range(steps)]
    [curve] = read_curves(lines)
    assert len(curve.train) == points
    assert curve.train[0] == ([0, 0] if points == steps else [0.5, 0.5])
    assert curve.train[-1] == [steps - 1, steps - 1]
