"""A damaged utterance and a NaN: any number of processes trains the same."""

import numpy as np
import pytest

from tests.training.damaged_ranks import NAN_STEP, STEPS, train, work
from tests.training.ranks import launch
from tests.training.runs import assert_same_weights


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tone_clips):
    """The results of one process."""
    folder = tmp_path_factory.mktemp("alone")
    return train(folder, tone_clips), (folder / "damaged.txt").read_text()


def test_the_step_goes_on_without_the_damaged(alone):
    found, lines = alone
    assert len(found["losses"]) == STEPS
    assert found["progress"]["skipped"] == 1
    finite = np.isfinite(found["losses"])
    assert np.flatnonzero(~finite).tolist() == [NAN_STEP]
    damaged = found["progress"]["damaged"]
    assert damaged == lines.count("3.flac: is damaged; copy it again")
    assert damaged > 10
    assert lines.startswith("step 3: ")


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_processes_trains_the_same(
    alone, ranks, tmp_path, tone_clips
):
    one, lines = alone
    found = launch(tmp_path, work, tone_clips, ranks, ranks=ranks)
    for rank in found:
        np.testing.assert_allclose(
            rank["losses"], one["losses"], rtol=0, atol=1e-6
        )
        assert_same_weights(rank["weights"], one["weights"], atol=1e-6)
        for name in ("skipped", "damaged", "step"):
            assert rank["progress"][name] == one["progress"][name]
        assert rank["progress"]["audio_seconds"] == pytest.approx(
            one["progress"]["audio_seconds"]
        )
    assert sorted((tmp_path / "damaged.txt").read_text().splitlines()) == (
        sorted(lines.splitlines())
    )
    if ranks == 4:  # all that some rank had was damaged
        assert sum(rank["empty"] for rank in found) > 0
