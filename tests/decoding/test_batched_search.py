import numpy as np
import torch

from nar_asr_lobes.decoding.batched_frames import Steps, prepare_steps
from nar_asr_lobes.decoding.batched_search import BatchedSearch
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.lm.batched import BatchedNgram
from tests.random_ngram import random_tables


def test_no_step_reads_a_value_back(lattice):
    """Tensors without values refuse it, and every shape that depends on one."""
    batch = lattice(20, 7, np.random.default_rng(1))[None].expand(3, -1, -1)
    options, shift = BeamOptions(lm_weight=0.5), torch.zeros(7).double()
    lengths = torch.tensor([20, 4, 11])
    steps, behind = prepare_steps(batch, lengths, options, shift)
    tables = random_tables(30, 7, 1)
    shapes = []
    for device in ("cpu", "meta"):
        lm = BatchedNgram(tables, device)
        rows = batch.flatten(0, 1).to(device)
        search = BatchedSearch(rows, shift.to(device), options, lm)
        moved = Steps(*(values.to(device) for values in steps))
        found = search.run(moved, behind.to(device))
        shapes.append([values.shape for values in found])
    assert shapes[0] == shapes[1] == [(3, 3, 5), (2, 20, 3, 5)]
