import logging
from functools import partial

import pytest
import torch

from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.objectives.diagnostics import (
    Totals,
    count_codes,
    find_collapse,
    spread_sums,
)
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2Objective
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from tests.training.runs import (
    Recorder,
    make_batch,
    make_brain,
    make_loader,
)


def test_the_spread_is_over_the_frames_of_each_utterance():
    states = torch.randn(3, 9, 5)
    lengths = torch.tensor([9, 4, 0])
    expected = sum(
        states[row, :count].std(0, correction=0).mean()
        / states[row, :count].square().mean().sqrt()
        * count
        for row, count in ((0, 9), (1, 4))
    )
    found = spread_sums(states, lengths)["feature_std"]
    torch.testing.assert_close(found, expected)
    # An imported encoder's last norm may have any gain.
    found = spread_sums(states / 100, lengths)["feature_std"]
    torch.testing.assert_close(found, expected)
    constant = torch.randn(3, 1, 5).expand(3, 9, 5)
    assert spread_sums(constant, lengths)["feature_std"].item() < 1e-5


@pytest.mark.parametrize("width", [5, 20])
def test_the_rank_is_of_the_covariance_of_each_utterances_frames(width):
    states = torch.randn(3, 9, width) * torch.arange(1.0, width + 1)
    lengths = torch.tensor([9, 4, 0])
    expected = 0.0
    for row, count in ((0, 9), (1, 4)):
        values = torch.linalg.eigvalsh(states[row, :count].T.cov())
        expected += values.sum() ** 2 / values.square().sum() * count
    found = spread_sums(states, lengths)["feature_rank"]
    torch.testing.assert_close(found, expected)
    line = torch.randn(1, 9, 1) * torch.randn(width) + torch.randn(width)
    found = spread_sums(line, torch.tensor([9]))["feature_rank"]
    assert found.item() / 9 == pytest.approx(1.0, rel=1e-4)
    apart = torch.eye(9, width)[None]
    found = spread_sums(apart, torch.tensor([9]))["feature_rank"]
    assert found.item() / 9 > min(width, 9) - 1.5


def test_codes_are_counted_by_codebook_and_where_they_count():
    codes = torch.randint(7, (4, 6, 3))
    counted = torch.rand(4, 6) > 0.4
    whole, some = count_codes(codes, 7), count_codes(codes, 7, counted)
    for book in range(3):
        for code in range(7):
            met = codes[..., book] == code
            assert whole[book, code] == met.sum()
            assert some[book, code] == (met & counted).sum()


def totals(perplexity=300, frames=10_000, spread=0.7, name="codes"):
    """Of codes in equal use, as many as ``perplexity`` of 320."""
    counts = torch.zeros(2, 320)
    counts[:, :perplexity] = frames / perplexity
    return Totals({"feature_std": spread}, {"feature_std": 1}, {name: counts})


def collapse(totals):
    """With the remedies of both objectives."""
    remedies = BestRqObjective.remedies | Wav2Vec2Objective.remedies
    return find_collapse(totals, remedies)


def test_a_healthy_run_gives_no_signs():
    assert collapse(totals()) is None
    assert collapse(totals(perplexity=10)) is None
    few = totals(perplexity=60, frames=60)
    assert collapse(few) is None  # all that were met differ
    # Of a handful nothing is said: one alone is always of one code.
    assert collapse(totals(perplexity=1, frames=10)) is None
    assert collapse(totals(1, name="predictions")) is None
    assert collapse(Totals({"loss": 0.0}, {"loss": 1})) is None
    assert collapse(Totals(codes={"codes": torch.zeros(1, 8)})) is None


def test_a_collapse_is_named_with_its_remedy():
    few = collapse(totals(perplexity=2))
    assert few == (
        "codes: a perplexity of 2.0 where 320 are possible: raise "
        "diversity_weight, lower peak_lr or gumbel_start"
    )
    assert "silence" in collapse(totals(2, name="targets"))
    half = totals()
    half.codes["codes"][1] = torch.eye(320)[0] * 10_000  # one codebook of two
    assert "codes: a perplexity of 1.0 where" in collapse(half)
    flat = collapse(totals(spread=1e-3))
    assert "nearly the same in every frame (1.0e-03): lower" in flat
    both = collapse(totals(perplexity=2, spread=1e-3))
    assert "codes" in both and "feature_std" in both


@pytest.mark.parametrize("healthy", [True, False])
def test_the_trainer_warns_once_a_log_line_after_the_warm_up(
    healthy, tmp_path, tone_clips, caplog
):
    """Collapsed on purpose: one code whatever the frame, and equal states."""
    recorder = Recorder()
    torch.manual_seed(0)
    brain = make_brain(
        "wav2vec2",
        tmp_path,
        8,
        scheduler=partial(WarmupCosine, 1e-9, warmup_ratio=0.5),
        train_logger=recorder,
        log_interval=2,
        valid_interval=8,
    )
    if not healthy:
        with torch.no_grad():
            brain.model.quantizer.scores.bias[::32] = 1e4
            brain.model.encoder.layers.norm.weight.zero_()
    valid = [make_batch("wav2vec2", tone_clips, range(4))]
    brain.fit(make_loader("wav2vec2", tone_clips, 8), valid)
    lines = [train for _, train, _ in recorder.lines if train]
    assert len(lines) == 4
    lines += [valid for _, _, valid in recorder.lines if valid]
    for line in lines:
        assert (line["codes_perplexity"] > 2) == healthy
        assert (line["codes_used"] > 1 / 32) == healthy
        assert (line["feature_std"] > 0.03) == healthy
    told = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ]
    steps = [] if healthy else (4, 6, 8, 8)  # the last in the validation
    assert [text.split(":")[0] for text in told] == [f"step {s}" for s in steps]
    assert all("codes: a" in t and "feature_std: the" in t for t in told)


def test_validation_sees_through_the_noise(tmp_path, tone_clips, caplog):
    """Scores that say nothing: only the noise of training tells codes apart."""
    brain = make_brain(
        "wav2vec2",
        tmp_path,
        4,
        scheduler=partial(WarmupCosine, 1e-9, warmup_ratio=0.0),
    )
    with torch.no_grad():
        brain.model.quantizer.scores.weight.zero_()
        brain.model.quantizer.scores.bias.zero_()
        brain.model.quantizer.scores.bias[::32] = 0.1
    brain.validate([make_batch("wav2vec2", tone_clips, range(4))])
    [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "codes: a perplexity of 1.0" in record.getMessage()
    caplog.clear()
    brain.fit(make_loader("wav2vec2", tone_clips, 4))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_codes_of_all_steps_of_a_log_line_are_counted(tmp_path, tone_clips):
    """And those of the next line begin at zero."""
    recorder = Recorder()
    brain = make_brain(
        "pretrain", tmp_path, 4, train_logger=recorder, log_interval=2
    )
    met, log = [], brain.train_log
    line = log.line

    def watched():
        met.append(log.codes.codes["targets"].sum().item())
        line()

    log.line = watched
    masked, make_step = [], brain.make_step
    brain.make_step = lambda items, *following: (
        masked.extend(items),
        make_step(items, *following),
    )[1]
    brain.fit(make_loader("pretrain", tone_clips, 4))
    counts = sum(item.counts["accuracy"] for item in masked)
    assert len(met) == 2 and sum(met) == counts


def test_totals_are_sums_over_counts():
    totals = Totals()
    totals.add({"ctc": torch.tensor(6.0), "wer": 3}, {"ctc": 2.0, "wer": 0.0})
    totals.add({"ctc": torch.tensor(4.0)}, {"ctc": 3.0, "unused": 7.0})
    assert totals.ratios() == {"ctc": 2.0}


def test_codes_become_perplexity_and_share_in_use():
    one, two = Totals(), Totals()
    one.add({"codes": torch.tensor([[3.0, 1.0, 0.0, 0.0]])}, {})
    more = torch.tensor([[1.0, 3.0, 0.0, 0.0]])
    two.add({"codes": more, "ctc": 1.0}, {"ctc": 1})
    one.add_codes([two.cpu()])
    assert one.ratios() == {"codes_perplexity": 2.0, "codes_used": 0.5}
    books = torch.tensor([[1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]])
    numbers = Totals(codes={"codes": books}).ratios()
    assert numbers["codes_perplexity"] == pytest.approx((4 + 1) / 2)
    assert Totals(codes={"codes": torch.zeros(1, 4)}).ratios() == {}
