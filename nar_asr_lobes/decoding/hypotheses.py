"""The results of the searches, and the options of the beam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nar_asr_lobes.schema import Checked, count, number


class Hypothesis(NamedTuple):
    """One token sequence a search proposes, and where its score comes from.

    A named tuple: beams make millions, and a dataclass takes thrice as long.

    Arguments
    ---------
    tokens : tuple of int
        Token ids, never the blank.
    score : float
        The search's ranking; comparable inside one mode only.
    ctc : float
        Natural log of the CTC probability. Greedy: of the best path; beam: of
        the paths that survived; elsewhere: of all paths, exact.
    lm : float
        Natural log of the language model's probability with the sentence end,
        unweighted; 0 where no language model was asked.
    bonus : float
        The token bonus as it entered the score: weight times length.
    decoder : float or None
        Natural log from the NAR decoder (its pseudo-log-likelihood, or for
        mask-predict the sum over the masks it filled); None if not asked.
    neural : float
        As ``lm``, of the neural language model.
    hot : float
        Bonus of the listed hot words, as it entered the score.

    Example
    -------
    >>> Hypothesis(tokens=(3, 1), score=-1.5, ctc=-1.5).lm
    0.0
    """

    tokens: tuple[int, ...]
    score: float
    ctc: float
    lm: float = 0.0
    bonus: float = 0.0
    decoder: float | None = None
    neural: float = 0.0
    hot: float = 0.0


@dataclass(frozen=True)
class BeamOptions(Checked):
    """Options of the CTC prefix beam search.

    ``None`` for the three limits of candidates and blanks, no recombination
    and a beam larger than the number of prefixes make the search exact. A
    margin of 0 keeps the beam at its size on every frame.

    Arguments
    ---------
    beam_size : int
        Prefixes kept after each frame, and the most hypotheses in an N-best.
    lm_weight : float
        Weight of the language model's natural log-probability, >= 0. At 0 the
        language model is not asked at all.
    token_bonus : float
        Added to the score for each token, against the language model's
        preference for short sentences.
    max_candidates : int or None
        Best tokens of a frame that may extend a prefix; None for all.
    min_log_prob : float or None
        Tokens of a frame below this natural log-probability extend no prefix
        (the frame's best one always may); None for no limit.
    blank_threshold : float or None
        Runs of frames whose blank is more probable than this become one frame
        that is surely blank; 0.5 to 1, None for never.
    recombine : bool
        Of prefixes that are equal to the language model from here on, only
        those stay in the beam that can still become the best; the N-best list
        is refilled with the continuations of the others. Without a language
        model it does nothing.
    margin : float
        Prefixes beyond ``beam_size`` are kept, up to four times as many, where
        their score is less than this many nats below the best one's: the beam
        is wide where the posteriors are flat. 0 for never.

    Raises
    ------
    UserError
        If a value is no number, NaN or outside its limits.

    Example
    -------
    >>> BeamOptions(beam_size=5, lm_weight=0.4).token_bonus
    0.0
    """

    beam_size: int = count(5, least=1, most=10**6)
    lm_weight: float = number(0.0, least=0.0)
    token_bonus: float = 0.0
    max_candidates: int | None = count(20, least=1)
    min_log_prob: float | None = number(-8.0, most=0.0)
    blank_threshold: float | None = number(0.999, 0.5, 1.0)
    recombine: bool = True
    margin: float = number(6.0, least=0.0)
