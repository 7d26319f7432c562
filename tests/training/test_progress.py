import random

import numpy as np
import pytest
import torch

from nar_asr_lobes.training.progress import (
    Totals,
    random_state,
    set_random_state,
)


def draw():
    return random.random(), np.random.random(), torch.rand(1).item()


def test_random_streams_go_on_where_they_were(tmp_path):
    torch.save(random_state(), tmp_path / "random.pt")
    first = draw()
    assert draw() != first
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    set_random_state(torch.load(tmp_path / "random.pt", weights_only=True))
    assert draw() == first


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
