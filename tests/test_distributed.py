"""Sums over batches and ranks; tests of several ranks: test_brain_ranks."""

import pytest
import torch

from nar_asr_lobes.distributed import Totals


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
