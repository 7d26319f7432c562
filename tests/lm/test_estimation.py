"""What both trainings refuse; the estimates are tested with each of them."""

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.estimation import checked_name, make_folder, thresholds


@pytest.mark.parametrize("prune", [(), (0,), (0, 0, 0)])
def test_thresholds_are_filled_up(prune):
    assert thresholds(3, prune) == (0, 0, 0)
    assert thresholds(4, (0, 1)) == (0, 1, 1, 1)


@pytest.mark.parametrize(("order", "prune"), [(0, ()), (65, ()), (2, (1,))])
def test_orders_and_thresholds_that_do_not_do(order, prune):
    with pytest.raises(UserError, match="choose 4|does not suit"):
        thresholds(order, prune)


def test_a_name_must_end_as_the_file_does(tmp_path):
    assert checked_name(str(tmp_path / "a.ngram"), ".ngram").parent == tmp_path
    with pytest.raises(UserError, match="a.arpa: .* let it end in .ngram"):
        checked_name(tmp_path / "a.arpa", ".ngram")


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="a: cannot be made"):
        make_folder(tmp_path / "a" / "lm.arpa")
