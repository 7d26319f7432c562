"""Random back-off automata, for what looks tokens up in their tables."""

import numpy as np

from nar_asr_lobes.lm.ngram.tables import NgramTables


def random_tables(states, size, seed, chains=1):
    """Make tables with back-off chains of all lengths, their weights <= 0.

    Some states have no arcs, some all; nothing is normalised. With two
    chains, some tokens back off along the second.
    """
    rng = np.random.default_rng(seed)
    share = rng.choice([0, 0.1, 0.6, 1], size=(states, 1))
    kept = rng.random((states, size)) < share
    kept[0] = kept[:, 0] = False
    arcs = int(kept.sum())
    # often the state just before, so that chains get long
    shorter = np.arange(states) - rng.integers(1, 20, size=states)
    tables = NgramTables(
        unigram_log_prob=-rng.exponential(2.0, size).astype("f4"),
        unigram_state=rng.integers(states, size=size, dtype="i4"),
        backoff=-rng.exponential(0.5, states).astype("f4"),
        backoff_state=shorter.clip(min=0).astype("i4"),
        final=-rng.exponential(1.5, states).astype("f4"),
        arc_begin=np.append(0, kept.sum(1).cumsum()),
        arc_token=kept.nonzero()[1].astype("i4"),
        arc_log_prob=-rng.exponential(1.0, arcs).astype("f4"),
        arc_state=rng.integers(states, size=arcs, dtype="i4"),
        start=rng.integers(states, size=1, dtype="i4"),
    )
    if chains == 2:
        tables = _with_second_chain(tables, rng)
    for values in tables:
        values.setflags(write=False)  # as those of a model
    return tables


def _with_second_chain(tables, rng):
    """Add a chain through the states in any order."""
    states, size = len(tables.final), len(tables.unigram_state)
    way = np.append(0, rng.permutation(np.arange(1, states)))
    second = np.zeros(states, dtype="i4")
    second[way] = way[tables.backoff_state]
    weight = -rng.exponential(0.5, states).astype("f4")
    return tables._replace(
        backoff=np.append(tables.backoff, weight),
        backoff_state=np.append(tables.backoff_state, second),
        chain=rng.choice([0, states], size).astype("i4"),
    )
