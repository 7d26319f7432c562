"""Random n-gram models: as tables for the search, as a function for oracles."""

import numpy as np

from nar_asr_lobes.lm.ngram.tables import NgramTables

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
    """A random n-gram with holes; not normalised, log-probabilities <= 0.

    With holes, histories often share a state; with all n-grams kept, none do
    that are shorter than the order. Computed from dictionaries.
    """

    def __init__(self, size, seed, order=3, kept=0.4):
        rng = np.random.default_rng(seed)

        def weight(scale):
            return -float(np.float32(rng.exponential(scale)))

        self.size = size
        self.ngrams = {(v,): weight(2.0) for v in range(size)}
        contexts = [(v,) for v in range(size)]  # (0,): the start
        self.end = {g: weight(1.5) for g in [(), *contexts]}
        for scale in (1.0, 0.7, 0.5, 0.4, 0.3)[: order - 1]:
            longer = []
            for g in contexts:
                for v in range(1, size):
                    if not longer or rng.random() < kept:
                        longer.append((*g, v))
                        self.ngrams[longer[-1]] = weight(scale)
            contexts = longer
            if len(longer[0]) < order:
                self.end.update((g, weight(1.5)) for g in longer)
        self.backoff = {g: weight(0.5) for g in self.end}

    def context(self, tokens):
        """The longest known context at the end of the tokens."""
        tokens = tuple(tokens)
        while tokens not in self.end:
            tokens = tokens[1:]
        return tokens

    def log_prob(self, before, token):
        context, total = self.context((0, *before)), 0.0
        while (*context, token) not in self.ngrams:
            total += self.backoff[context]
            context = self.context(context[1:])
        return total + self.ngrams[(*context, token)]

    def partial(self, tokens):
        return sum(self.log_prob(tokens[:i], v) for i, v in enumerate(tokens))

    def sentence(self, tokens):
        return self.partial(tokens) + self.end[self.context((0, *tokens))]

    @property
    def tables(self):
        ids = {g: i for i, g in enumerate(self.end)}
        arcs, begins = [], [0, 0]
        for g in list(self.end)[1:]:
            for v in range(1, self.size):
                if (*g, v) in self.ngrams:
                    to = ids[self.context((*g, v))]
                    arcs.append((v, self.ngrams[(*g, v)], to))
            begins.append(len(arcs))
        tokens, log_probs, states = zip(*arcs, strict=True)
        return freeze(
            [self.ngrams[(v,)] for v in range(self.size)],
            [ids[(v,)] for v in range(self.size)],
            list(self.backoff.values()),
            [ids[self.context(g[1:])] for g in self.end],
            list(self.end.values()),
            begins,
            tokens,
            log_probs,
            states,
            [ids[(0,)]],
        )
