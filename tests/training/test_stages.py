import logging

import pytest

from nar_asr_lobes.training.stages import Stage


def test_a_stage_that_fails_is_timed_and_not_called_done(caplog):
    seconds = {}
    with caplog.at_level(logging.INFO):
        with Stage("good", seconds):
            pass
        with pytest.raises(ValueError), Stage("bad", seconds):
            raise ValueError
    assert set(seconds) == {"good", "bad"}
    assert "good: done in" in caplog.text and "bad: start" in caplog.text
    assert "bad: done" not in caplog.text
