"""CTC prefix beam search with a language model fused per token.

    log_probs [T, V] -> frames (pruned, blank runs merged) -> beam of prefixes
                     -> N-best hypotheses

A prefix g has two probabilities, of its paths that end in the blank and of
those that end in its last label, kept apart in log space (Hannun et al. 2014,
arXiv:1408.2873). Prefixes are ranked by

    S(g) = log p_ctc(g) + lm_weight * log p_LM(g) + token_bonus * |g|

plus what hot words gain (``hot_words``), and only at the end by the same plus
the language model's sentence end. Two prefixes with the same last token, state
of the language model and state among the hot words have the same future; one
whose two probabilities, weighed, are both the lower ones will not overtake the
other, and leaves its place in the beam to a third. (What it would have given
to longer prefixes of its own that are in the beam is lost with it, as it is
whenever a prefix drops out of a beam.)

The search is compiled (``prefix_beam_kernel``) when first used, and kept on
disk for the next process. Each thread searches a run of utterances at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import accumulate, chain, count, islice
from operator import attrgetter

import numpy as np
import torch

from nar_asr_lobes.decoding.beam.candidates import BAD
from nar_asr_lobes.decoding.beam.kernel import Room, new_room, search
from nar_asr_lobes.decoding.beam.nbest import Result
from nar_asr_lobes.decoding.beam.settings import Settings
from nar_asr_lobes.decoding.hotwords.closings import Closings
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import (
    BeamOptions,
    Hypothesis,
    LanguageModel,
)
from nar_asr_lobes.decoding.validation import as_log_probs, require_frames
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.tables import NgramTables

# Numbers of posteriors that utterances share a compiled call for: enough that
# the call costs little, and few enough to copy within a cache.
_RUN = 1 << 16
# Of what a search needs room for; more is made when it is asked for.
_CAPACITY = 1 << 16
_SCORE = attrgetter("score")


def prefix_beam_search(
    log_probs: Sequence[torch.Tensor | np.ndarray],
    options: BeamOptions,
    lm: LanguageModel | None = None,
    log_prior: np.ndarray | None = None,
    hot_words: HotWords | None = None,
) -> list[list[Hypothesis]]:
    """Search each utterance for its best token sequences.

    Arguments
    ---------
    log_probs : sequence of torch.Tensor or np.ndarray
        CTC natural log-probabilities [T, V] of each utterance, without
        padding; column 0 is the blank. Used as float32.
    options : BeamOptions
        Width, weights and pruning.
    lm : LanguageModel or None
        Language model over the same tokens; it must give log-probabilities
        <= 0, by which the search knows which extensions cannot survive.
    log_prior : np.ndarray or None
        Natural log of each token's mean probability [V], used where
        ``prior_weight`` is above 0; that of the blank is not looked at.
    hot_words : HotWords or None
        Phrases to prefer, over the same tokens.

    Returns
    -------
    list of list of Hypothesis
        For each utterance at most ``beam_size`` hypotheses, best first, at
        least one; an utterance of no frames has the empty one. With
        ``recombine``, ``ctc`` is of all paths that the limits of the options
        allow, else of those that survived. With a prior it is of the corrected
        probabilities.

    Raises
    ------
    UserError
        If posteriors are not log-probabilities, ``lm_weight`` is above 0
        without a language model or ``prior_weight`` without a prior, or one of
        them has another number of tokens.

    Example
    -------
    >>> frames = torch.tensor([[.6, .4], [.6, .4]]).log()
    >>> [best, *_] = prefix_beam_search([frames], BeamOptions())[0]
    >>> best.tokens, round(math.exp(best.ctc), 2)  # .4*.4 + 2*.6*.4
    ((1,), 0.64)
    """
    if options.lm_weight > 0 and lm is None:
        raise UserError(
            f"lm_weight is {options.lm_weight} but there is no language "
            "model; give one or set the weight to 0"
        )
    if options.prior_weight > 0 and log_prior is None:
        raise UserError(
            f"prior_weight is {options.prior_weight} but there is no prior; "
            "give one or set the weight to 0"
        )
    tables = lm.tables if options.lm_weight > 0 else _NO_TABLES
    if hot_words is None or hot_words.boost == 0:
        hot_words = _NO_HOT_WORDS
    prepare = lru_cache(partial(_prepare, options, hot_words, log_prior))
    work = partial(_search, prepare, tables, hot_words)
    return _in_threads(work, list(map(_as_float32, log_probs, count())))


def _in_threads(
    work: Callable, log_probs: list[np.ndarray]
) -> list[list[Hypothesis]]:
    """Search runs of utterances; the results are in order."""
    threads = torch.get_num_threads()
    total = sum(values.size for values in log_probs)
    runs = _runs(log_probs, min(_RUN, math.ceil(total / threads)))
    starts = accumulate(map(len, runs), initial=0)
    if min(threads, len(runs)) <= 1:
        found = map(work, starts, runs)
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(work, starts, runs)
    return list(chain.from_iterable(found))


def _runs(log_probs: list[np.ndarray], most: int) -> list[list[np.ndarray]]:
    """Put neighbours together that are small and have the same labels."""
    runs, size = [], 0
    for values in log_probs:
        size += values.size
        if not runs or size > most or (values.shape[1] != runs[-1][0].shape[1]):
            runs.append([])
            size = values.size
        runs[-1].append(values)
    return runs


def _search(
    prepare: Callable[[int], tuple[np.ndarray, Settings]],
    tables: NgramTables,
    hot: HotWords,
    start: int,
    run: list[np.ndarray],
) -> list[list[Hypothesis]]:
    """Return the N-best of each utterance of a run."""
    size = run[0].shape[1]
    shift, settings = prepare(size)
    for name, used, table in (
        ("a language model", settings.use_lm, tables),
        ("hot words", settings.use_hot, hot.tables),
    ):
        if used and len(table.unigram_log_prob) != size:
            raise UserError(
                f"utterance {start}: posteriors of {size} labels with {name} "
                f"of {len(table.unigram_log_prob)}; use the tokenizer's own"
            )
    values = run[0] if len(run) == 1 else np.concatenate(run)
    ends = np.cumsum([len(rows) for rows in run])
    longest, first, found = max(map(len, run)), 0, []
    # at first enough in all but odd cases, and at least for one list
    capacity = max(1024, min(longest * settings.beam_size, _CAPACITY))
    rooms = _rooms(
        size, settings.max_candidates, settings.beam_size, settings.use_lm
    )
    while first < len(run):
        try:
            room = rooms.pop()
        except IndexError:  # in use by other threads
            room = None
        if room is None or len(room.trie.nodes) < capacity:
            room = new_room(size, capacity, tables, settings)
        done, reason = search(
            values,
            ends,
            first,
            shift,
            tables,
            hot.tables,
            hot.closings,
            settings,
            room,
        )
        found += _hypotheses(room.result, settings)
        if capacity <= _CAPACITY:
            rooms.append(room)
        if reason == BAD:
            where = f"utterance {start + done}"
            as_log_probs(run[done], where)  # says what is wrong
            raise UserError(
                f"{where}: these posteriors leave no path; check them"
            )
        if done == first:
            capacity = 4 * len(room.trie.nodes)
        first = done
    return found


@lru_cache(maxsize=8)
def _rooms(*sizes: int) -> list[Room]:
    """Keep what searches worked in: a new one takes as long as a second of
    audio."""
    return []


def _as_float32(log_probs: torch.Tensor | np.ndarray, index: int) -> np.ndarray:
    """Bring posteriors to the one form that the search is compiled for."""
    if isinstance(log_probs, torch.Tensor):
        log_probs = log_probs.detach().to("cpu", torch.float32).numpy()
    values = np.ascontiguousarray(log_probs, np.float32)
    require_frames(values.shape, f"utterance {index}")
    return values if values.flags.writeable else values.copy()


def _prepare(
    options: BeamOptions,
    hot_words: HotWords,
    log_prior: np.ndarray | None,
    size: int,
) -> tuple[np.ndarray, Settings]:
    """What utterances of so many labels have in common."""
    shift = _shift(options, log_prior, size)
    slack = float(np.ptp(shift[1:]))
    return shift, _settings(options, size, slack, hot_words)


def _shift(
    options: BeamOptions, log_prior: np.ndarray | None, size: int
) -> np.ndarray:
    """What is added to each label's log-probability at every frame."""
    shift = np.zeros(size)
    if options.prior_weight == 0:
        return shift
    prior = np.asarray(log_prior, dtype=np.float64)
    if prior.shape != (size,) or not np.isfinite(prior[1:]).all():
        raise UserError(
            f"a prior of shape {list(prior.shape)} for {size} labels; it must "
            "have a finite log-probability for each token"
        )
    with np.errstate(over="ignore"):
        shift[1:] = -options.prior_weight * prior[1:]
    if not np.isfinite(shift).all():
        raise UserError(
            f"prior_weight is {options.prior_weight}, too much for this prior; "
            "choose one below 10"
        )
    return shift


def _settings(
    options: BeamOptions, size: int, slack: float, hot_words: HotWords
) -> Settings:
    """Translate the options for the compiled search."""
    floor, sure = options.min_log_prob, options.blank_threshold
    limit = options.max_candidates
    use_lm = options.lm_weight > 0
    return Settings(
        beam_size=options.beam_size,
        max_candidates=size - 1 if limit is None else min(limit, size - 1),
        lm_weight=float(options.lm_weight),
        token_bonus=float(options.token_bonus),
        hot_boost=hot_words.boost,
        hot_limit=hot_words.limit,
        floor=-math.inf if floor is None else float(floor),
        sure=math.inf if sure is None else math.log(sure),
        slack=slack,
        use_lm=use_lm,
        use_hot=hot_words.boost > 0,
        recombine=options.recombine and use_lm,
    )


def _hypotheses(result: Result, settings: Settings) -> list[list[Hypothesis]]:
    """Cut the compiled search's result into hypotheses."""
    hypotheses, spelled, lists = result.used.tolist()
    found, begin, ids = [], 0, result.tokens[:spelled].tolist()
    for score, ctc, lm, length, gained in result.parts[:hypotheses].tolist():
        end = begin + int(length)
        bonus = settings.token_bonus * int(length)
        hot = settings.hot_boost * gained
        found.append(
            Hypothesis(tuple(ids[begin:end]), score, ctc, lm, bonus, hot=hot)
        )
        begin = end
    rest = iter(found)
    nbests = [list(islice(rest, n)) for n in result.lists[:lists].tolist()]
    for nbest in nbests:
        nbest.sort(key=_SCORE, reverse=True)  # what merges gave is in between
    return nbests


def _frozen(dtype: type) -> np.ndarray:
    """One zero that cannot be changed, as a model's tables cannot."""
    values = np.zeros(1, dtype)
    values.flags.writeable = False
    return values


# Never read; they have the types of a model's, so that one search is compiled.
_NO_TABLES = NgramTables(*map(_frozen, "f4 i4 f4 i4 f4 i8 i4 f4 i4 i4".split()))
_NO_CLOSINGS = Closings(
    *(np.zeros(1, t) for t in "i4 i4 i4 i4 i4 ? i8".split())
)
_NO_HOT_WORDS = HotWords((), _NO_TABLES, _NO_CLOSINGS, boost=0.0)
