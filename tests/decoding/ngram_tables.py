"""Random n-gram models: as tables for the search, as a function for oracles."""

import numpy as np

from nar_asr_lobes.lm.tables import NgramTables

TYPES = "f4 i4 f4 i4 f4 i8 i4 f4 i4 i4".split()


def freeze(*arrays):
    """Make tables of the arrays, with their types, read-only."""
    frozen = []
    for values, dtype in zip(arrays, TYPES, strict=True):
        values = np.ascontiguousarray(values, dtype=dtype)
        values.flags.writeable = False
        frozen.append(values)
    return NgramTables(*frozen)


def bigram_tables(table):
    """Tables of a dense bigram: row the token before, 0 at both ends."""
    table = np.asarray(table)
    size = len(table)
    tokens = np.arange(1, size)
    # state 1 + v is "after v"; every state has all arcs, so none backs off
    begins = np.maximum(np.arange(size + 2) - 1, 0) * (size - 1)
    return freeze(
        np.zeros(size),
        1 + np.arange(size),
        np.zeros(size + 1),
        np.zeros(size + 1),
        np.concatenate([[0.0], table[:, 0]]),
        begins,
        np.tile(tokens, size),
        table[:, 1:].ravel(),
        np.tile(1 + tokens, size),
        [1],
    )


class BackoffLM:
    """A random trigram with holes; not normalised, log-probabilities <= 0.

    Histories with the same state are common. ``log_prob`` finds the longest
    n-gram in dictionaries.
    """

    def __init__(self, size, seed, kept=0.4):
        rng = np.random.default_rng(seed)
        self.size = size

        def weight(scale):
            return -float(np.float32(rng.exponential(scale)))

        tokens = range(1, size)
        self.ngrams = {(v,): weight(2.0) for v in tokens}
        self.ngrams[0,] = -99.0  # the end takes column 0 after a context
        for context in ((0,), *((v,) for v in tokens)):
            for v in tokens:
                if rng.random() < kept:
                    self.ngrams[*context, v] = weight(1.0)
        for pair in [g for g in self.ngrams if len(g) == 2]:
            for v in tokens:
                if rng.random() < kept:
                    self.ngrams[*pair, v] = weight(0.7)
        self.contexts = [(), (0,), *((v,) for v in tokens)]
        self.contexts += [g for g in self.ngrams if len(g) == 2]
        self.backoff = {g: weight(0.5) for g in self.contexts[1:]}
        self.end = {g: weight(1.5) for g in self.contexts}

    def context(self, tokens):
        """The longest known context at the end of the tokens."""
        start = max(len(tokens) - 2, 0)
        while tuple(tokens[start:]) not in self.end:
            start += 1
        return tuple(tokens[start:])

    def log_prob(self, before, token):
        context, total = self.context((0, *before)), 0.0
        while (*context, token) not in self.ngrams:
            total += self.backoff[context]
            context = self.context(context[1:])
        return total + self.ngrams[*context, token]

    def sentence(self, tokens):
        total = sum(
            self.log_prob(tokens[:i], v) for i, v in enumerate(tokens)
        )
        return total + self.end[self.context((0, *tokens))]

    @property
    def tables(self):
        ids = {g: i for i, g in enumerate(self.contexts)}
        arcs, begins = [], [0, 0]
        for g in self.contexts[1:]:
            for v in range(1, self.size):
                if (*g, v) in self.ngrams:
                    to = ids[self.context((*g, v))]
                    arcs.append((v, self.ngrams[*g, v], to))
            begins.append(len(arcs))
        tokens, log_probs, states = zip(*arcs, strict=True)
        contexts = self.contexts
        return freeze(
            [self.ngrams[v,] for v in range(self.size)],
            [ids[v,] for v in range(self.size)],
            [self.backoff.get(g, 0.0) for g in contexts],
            [ids[self.context(g[1:])] if g else 0 for g in contexts],
            [self.end[g] for g in contexts],
            begins,
            tokens,
            log_probs,
            states,
            [ids[0,]],
        )
