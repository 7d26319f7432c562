"""The denominator of lattice-free MMI on the topology of CTC.

For an utterance x it is the log of

    Z(x) = sum over token sequences w of P(w) P(w | x)

with an n-gram's P(w) and CTC's P(w | x): the sum over all CTC paths of all
sequences. Then log P(w) P(w | x) / Z(x) of the reference w is the criterion of
maximum mutual information, as in CTC-CRF (Xiang and Ou,
https://arxiv.org/abs/1811.12254). The CTC loss plus m log Z(x) has the gradient
of (1 - m) CTC + m MMI, since P(w) has none.

A node of the graph is an n-gram state and the last label, blank or the token
that led there. N: nodes, S: states. Nodes 0 to S - 1 are those of the blank.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import encode_corpus
from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import NgramTables

MAX_NODES = 50_000  # a step costs some nanoseconds a node and frame
_TINY = 1e-300


@dataclass(frozen=True)
class _Arcs:
    """Look-ups that a model has without back-off, sorted by state and token.

    State 0 has all tokens.
    """

    state: np.ndarray
    token: np.ndarray
    log_prob: np.ndarray
    after: np.ndarray  # the state after it

    @classmethod
    def of(cls, tables: NgramTables) -> _Arcs:
        tokens = np.arange(1, len(tables.unigram_log_prob))
        states = np.arange(len(tables.final))
        return cls(
            np.append(0 * tokens, states.repeat(np.diff(tables.arc_begin))),
            np.append(tokens, tables.arc_token),
            np.append(tables.unigram_log_prob[1:], tables.arc_log_prob),
            np.append(tables.unigram_state[1:], tables.arc_state).astype("i8"),
        )

    def look_up(
        self, tables: NgramTables, state: np.ndarray, token: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log-probabilities with back-off, and the states after."""
        size, weight = len(tables.unigram_log_prob), np.zeros(len(state))
        keys, state = self.state * size + self.token, state.astype("i8")
        while True:
            wanted = state * size + token
            rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            backs_off = keys[rows] != wanted
            if not backs_off.any():
                return weight + self.log_prob[rows], self.after[rows]
            weight = weight + np.where(backs_off, tables.backoff[state], 0)
            state = np.where(backs_off, tables.backoff_state[state], state)


@dataclass(frozen=True)
class Denominator:
    """The graph; matrices are sparse and hold probabilities.

    From one frame to the next, the mass x [N, B] of the nodes becomes
    y * (stay x + leave (spread x)), with the labels' probabilities y.
    ``spread`` [S, N] gives a state its nodes' mass and passes it on to shorter
    states by the back-off weights; ``leave`` [N, S] has the n-grams, and takes
    away what a shorter state gives to tokens that a longer one has itself;
    ``stay`` [N, N] repeats labels and adds blanks, and takes away tokens that
    follow themselves without a blank between them.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> tokenizer = CharTokenizer("ab")
    >>> denominator = Denominator.train(["ab", "ab"], tokenizer, order=2)
    >>> frames = torch.zeros(1, 6, tokenizer.size).log_softmax(-1)
    >>> denominator(frames, torch.tensor([6])).shape
    torch.Size([1])
    """

    label: torch.Tensor  # [N]
    final: torch.Tensor  # [N, 1], probability of the sentence's end
    initial: torch.Tensor  # [N, 1], one at the start's blank
    spread: torch.Tensor
    leave: torch.Tensor
    stay: torch.Tensor
    spread_back: torch.Tensor  # transposed
    leave_back: torch.Tensor
    stay_back: torch.Tensor

    @classmethod
    def train(
        cls, texts: Iterable[str], tokenizer: Tokenizer, order: int
    ) -> Denominator:
        """Make the graph of a Kneser-Ney model of some texts."""
        corpus = encode_corpus(texts, tokenizer)
        model = estimate(corpus.tokens, corpus.lengths, order)
        return cls.from_tables(build_tables(model, tokenizer.size))

    @classmethod
    def from_tables(cls, tables: NgramTables) -> Denominator:
        """Make the graph of an n-gram model over pieces."""
        arcs, states = _Arcs.of(tables), len(tables.final)
        size = len(tables.unigram_log_prob)
        keys = np.unique(arcs.after * size + arcs.token)
        state, label = np.divmod(keys, size)

        def node(after, token):
            return states + np.searchsorted(keys, after * size + token)

        blanks, own = np.arange(states), states + np.arange(len(keys))
        state, label = np.append(blanks, state), np.append(0 * blanks, label)
        log_prob, after = arcs.look_up(tables, state[states:], label[states:])
        stay = [
            (state, np.arange(len(state)), 1.0 + 0 * state),
            (own, own, 1.0 + 0 * own),
            (node(after, label[states:]), own, -np.exp(log_prob)),
        ]
        longer = np.flatnonzero(arcs.state)
        origin, token = arcs.state[longer], arcs.token[longer]
        log_prob, after = arcs.look_up(
            tables, tables.backoff_state[origin], token
        )
        log_prob = log_prob + tables.backoff[origin]
        leave = [
            (node(arcs.after, arcs.token), arcs.state, np.exp(arcs.log_prob)),
            (node(after, token), origin, -np.exp(log_prob)),
        ]
        nodes, start = len(state), int(tables.start[0])
        if nodes > MAX_NODES:
            raise UserError(
                f"mmi_order: an n-gram of {size - 1} tokens makes a graph of "
                f"{nodes} nodes, at most {MAX_NODES} are affordable; lower it, "
                "or set mmi_weight to 0"
            )
        pairs = [
            _matrices(_spread(tables, state), (states, nodes)),
            _matrices(leave, (nodes, states)),
            _matrices(stay, (nodes, nodes)),
        ]
        return cls(
            torch.from_numpy(label),
            torch.from_numpy(np.exp(tables.final[state].astype("f8")))[:, None],
            (torch.arange(nodes) == start).double()[:, None],
            *(matrix for pair in zip(*pairs, strict=True) for matrix in pair),
        )

    def to(self, device: torch.device) -> Denominator:
        """Return the graph on a device."""
        if self.label.device == device:
            return self
        return Denominator(
            *(getattr(self, field.name).to(device) for field in fields(self))
        )

    def __call__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Return log Z of log_probs [B, T, V] of ``lengths`` [B] frames."""
        return _LogSum.apply(log_probs, lengths, self)

    def step(self, mass: torch.Tensor) -> torch.Tensor:
        """Move the nodes' mass [N, B] on by a frame, without labels' probs."""
        stays = self.stay @ mass
        return torch.addmm(stays, self.leave, self.spread @ mass)

    def step_back(self, mass: torch.Tensor) -> torch.Tensor:
        """Do the transposed of ``step``."""
        stays = self.stay_back @ mass
        return torch.addmm(stays, self.spread_back, self.leave_back @ mass)


def _spread(tables: NgramTables, state: np.ndarray) -> list[tuple]:
    """Give the parts of ``Denominator.spread``, one a step of back-off."""
    node, weight, parts = np.arange(len(state)), np.ones(len(state)), []
    while len(state):
        parts.append((state, node, weight))
        weight = weight * np.exp(tables.backoff[state])
        inner = state > 0
        state, node = tables.backoff_state[state[inner]], node[inner]
        weight = weight[inner]
    return parts


def _matrices(
    parts: list[tuple], shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add up (rows, columns, values) in a sparse matrix and its transpose."""
    rows, columns, values = map(np.concatenate, zip(*parts, strict=True))
    index = torch.from_numpy(np.stack([rows, columns]).astype(np.int64))
    values = torch.from_numpy(values.astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR is in beta
        matrix = torch.sparse_coo_tensor(index, values, shape)
        return matrix.to_sparse_csr(), matrix.t().to_sparse_csr()


def _forward(
    graph: Denominator, probs: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mass of each frame [T, N, B], scaled to 1 in each.

    Also the scales [T, B], and the mass that ends each utterance [B].
    """
    frames, _, batch = probs.shape
    mass = graph.initial.repeat(1, batch)
    masses = probs.new_empty(frames, len(graph.label), batch)
    scales = probs.new_empty(frames, batch)
    for t in range(frames):
        mass = graph.step(mass) * probs[t].index_select(0, graph.label)
        scales[t] = mass.sum(0).clamp(min=_TINY)
        mass = torch.div(mass, scales[t], out=masses[t])
    rows = torch.arange(batch, device=probs.device)
    last = masses[(lengths - 1).clamp(min=0), :, rows]  # [B, N]
    return masses, scales, (last @ graph.final)[:, 0].clamp(min=_TINY)


def _occupancy(
    graph: Denominator,
    probs: torch.Tensor,
    lengths: torch.Tensor,
    masses: torch.Tensor,
    scales: torch.Tensor,
    ending: torch.Tensor,
) -> torch.Tensor:
    """Return the probability of each label in each frame, [B, T, V]."""
    found = torch.zeros_like(probs)
    after = torch.zeros_like(masses[0])
    for t in reversed(range(len(probs))):
        is_last = lengths == t + 1  # nothing comes from frames of padding
        rest = after + graph.final * (is_last / ending)
        found[t].index_add_(0, graph.label, masses[t] * rest)
        rest = rest * probs[t].index_select(0, graph.label) / scales[t]
        after = graph.step_back(rest)
    return found.permute(2, 0, 1)


class _LogSum(torch.autograd.Function):
    """log Z; its gradient is the occupancy of the labels."""

    @staticmethod
    def forward(ctx, log_probs, lengths, graph):
        probs = log_probs.permute(1, 2, 0).double().exp().contiguous()
        masses, scales, ending = _forward(graph, probs, lengths)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(
                _occupancy(graph, probs, lengths, masses, scales, ending)
            )
        valid = torch.arange(len(probs), device=probs.device)[:, None] < lengths
        log_z = (scales.log() * valid).sum(0) + ending.log()
        return log_z.to(log_probs.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (occupancy,) = ctx.saved_tensors  # [B, T, V]
        return (
            occupancy.to(gradient.dtype) * gradient[:, None, None],
            None,
            None,
        )
