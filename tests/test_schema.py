"""Numbers that a user gave, refused in one sentence."""

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.objectives.pretraining import (
    BestRqObjective,
    Wav2Vec2Objective,
)
from nar_asr_lobes.objectives.recognition import RecognitionObjective
from nar_asr_lobes.schema import require_count, require_number


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "5", None])
def test_counts_are_whole_and_positive(value):
    with pytest.raises(UserError, match="beam_size is .*at least 1"):
        require_count("beam_size", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, "1", True])
def test_numbers_are_finite_and_inside_their_limits(value):
    with pytest.raises(UserError, match="lm_weight is .* from 0 to inf"):
        require_number("lm_weight", value, minimum=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpecAugment(freq_masks=-1), "freq_masks is -1"),
        (lambda: SpecAugment(time_share=1.5), "time_share is 1.5.* to 1"),
        (lambda: BestRqObjective(0.5, 0), "mask_span is 0"),
        (lambda: BestRqObjective(0.5, 10, codes=1), "codes is 1"),
        (lambda: BestRqObjective(0.5, 9, soft_weight=2), "soft_weight is 2"),
        (
            lambda: BestRqObjective(0.5, 9, visible_weight=-1),
            "visible_weight is -1",
        ),
        (lambda: BestRqObjective(0.5, 9, projection="x"), "projection is .x"),
        (lambda: Wav2Vec2Objective(0.5, 9, negatives=0), "negatives is 0"),
        (lambda: Wav2Vec2Objective(0.5, 9, gumbel_start=0.1), "gumbel_start"),
        (lambda: Wav2Vec2Objective(0.5, 9, gumbel_share=1.1), "gumbel_share"),
        (lambda: RecognitionObjective(None, 1.5, 0.5), "decoder_weight is 1.5"),
    ],
)
def test_numbers_of_a_yaml_are_checked_where_they_are_used(make, message):
    with pytest.raises(UserError, match=message):
        make()
