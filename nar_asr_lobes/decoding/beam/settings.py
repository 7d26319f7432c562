"""The options of a beam search for compiled code, and how they weigh."""

from __future__ import annotations

from typing import NamedTuple

from nar_asr_lobes.jit import inner


class Settings(NamedTuple):
    """The options as the compiled search takes them.

    Arguments
    ---------
    beam_size, max_candidates : int
        As in ``BeamOptions``, with a number for None.
    lm_weight, token_bonus : float
        As in ``BeamOptions``.
    hot_boost : float
        What a token of the hot words gains.
    hot_limit : int
        How often each of them does.
    floor, sure : float
        Least log-probability of a candidate; that of a sure blank.
    use_lm, use_hot, recombine : bool
        Whether the language model and the hot words are asked, and equal
        futures are merged.
    """

    beam_size: int
    max_candidates: int
    lm_weight: float
    token_bonus: float
    hot_boost: float
    hot_limit: int
    floor: float
    sure: float
    use_lm: bool
    use_hot: bool
    recombine: bool


@inner
def weigh(settings: Settings, lm: float, length: int, gained: int) -> float:
    """Weigh the language model, the length and the tokens gained."""
    offset = settings.lm_weight * lm + settings.token_bonus * length
    return offset + settings.hot_boost * gained
