"""Two processes train like one (gloo, on this machine)."""

import pytest
import torch

from tests.training.ranks import (
    RANKS,
    equal_run,
    first_gradients,
    fitted,
    launch,
    work,
)
from tests.training.runs import ALL_KINDS, KINDS, assert_same_weights


@pytest.fixture(scope="module")
def found(tmp_path_factory, tone_clips):
    """The results of each rank."""
    return launch(tmp_path_factory.mktemp("ranks"), work, tone_clips)


@pytest.fixture(params=ALL_KINDS)
def kind(request):
    return request.param


def test_sums_and_lists_are_of_all_ranks(found):
    for rank in range(RANKS):
        sums, gathered = found[rank]["collectives"]
        assert sums == {"a": 1.0, "b": 3.0}
        assert gathered == ["of 0", "of 1"]


def test_a_projection_is_fitted_to_the_audio_of_all_ranks(found, tone_clips):
    one = fitted([[0, 1, 2, 3, 4]], tone_clips)
    two = [found[rank]["projection"] for rank in range(RANKS)]
    assert torch.equal(*two)
    torch.testing.assert_close(two[0], one, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(one, fitted([[0, 1]], tone_clips), atol=1e-2)


def test_a_step_sends_its_gradients_and_one_message_more(found):
    for rank in range(RANKS):
        names, buckets = found[rank]["messages"]
        assert names == ["gloo:all_reduce"] * (buckets + 1)


def test_compressed_gradients_move_all_ranks_alike(found):
    exact = [found[rank]["pretrain", "alike"]["equal"] for rank in (0, 1)]
    rough = [found[rank]["compressed"] for rank in (0, 1)]
    assert_same_weights(rough[0]["weights"], rough[1]["weights"])
    assert rough[0]["losses"] != exact[0]["losses"]
    assert rough[0]["losses"] == pytest.approx(exact[0]["losses"], rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_equal_one(found, kind, tmp_path, tone_clips):
    one = equal_run(kind, tmp_path, tone_clips, rank=0, ranks=1)
    two = [found[rank][kind, "alike"]["equal"] for rank in range(RANKS)]
    assert len(one["losses"]) == 4
    for rank in two:
        assert rank["losses"] == pytest.approx(one["losses"], abs=1e-6)
        assert rank["valid"] == pytest.approx(one["valid"], abs=1e-6)
        assert_same_weights(rank["weights"], one["weights"], atol=1e-6)
        assert rank["audio_seconds"] == pytest.approx(one["audio_seconds"])
    assert_same_weights(two[0]["weights"], two[1]["weights"])
    # The weights moved, and the ranks had unlike work.
    moved = {
        name: (value - one["before"][name]).abs().max()
        for name, value in one["weights"].items()
    }
    assert moved["encoder.frontend.stem.gabor.weight"] > 1e-4
    assert two[0]["micro_batches"] != two[1]["micro_batches"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_one_process(found, kind, tmp_path, tone_clips):
    averages, one = first_gradients(kind, str(tmp_path), tone_clips, 0, 1)
    for rank in range(RANKS):
        theirs, two = found[rank][kind, "alike"]["gradients"]
        assert theirs == pytest.approx(averages, rel=1e-5)
        for x, y in zip(sum(one, []), sum(two, []), strict=True):
            scale = x.abs().max().item() + 1e-3
            torch.testing.assert_close(y, x, atol=1e-5 * scale, rtol=0)


def test_a_nan_on_one_rank_skips_the_step_on_both(found, kind):
    (trail, skipped, count), (other, same, again) = (
        found[rank][kind]["nan"] for rank in range(RANKS)
    )
    assert skipped == same == [0.0, 1.0, 0.0]
    assert count == again == 1
    for mine, theirs in zip(trail, other, strict=True):
        assert_same_weights(mine, theirs)  # and finite
    assert_same_weights(trail[1], trail[0])
    assert not torch.equal(
        trail[2]["encoder.layers.norm.weight"],
        trail[1]["encoder.layers.norm.weight"],
    )


def test_each_rank_has_its_own_random_stream(found, kind):
    draws = {found[rank][kind]["streams"] for rank in range(RANKS)}
    assert len(draws) == RANKS


def test_a_signal_to_one_process_saves_and_stops_both(found, kind):
    """In the same step, from which both go on bit for bit."""
    for rank in range(RANKS):
        whole, stopped, halves = found[rank][kind]["resumed"]
        assert stopped[0].startswith("stopped by SIGTERM, saved at step 2;")
        assert stopped[1] == 143
        assert halves[0] == whole[0][2:]
        assert_same_weights(halves[1], whole[1])
