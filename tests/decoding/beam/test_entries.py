import pytest

from nar_asr_lobes.decoding.beam import entries as beam_entries
from nar_asr_lobes.decoding.beam import trie as prefix_trie
from nar_asr_lobes.decoding.beam.entries import new_work
from nar_asr_lobes.decoding.beam.trie import NONE, new_trie
from tests.compiled_calls import callable_from_python

merge_stays = callable_from_python(beam_entries.merge_stays)
add_merge = callable_from_python(prefix_trie.add_merge)
add_node = callable_from_python(prefix_trie.add_node)
restart = callable_from_python(prefix_trie.restart)

A, B, C = (7, 4), (8, 4), (7, 5)


def merged(*entries):
    """Return the winner of each (token, state, blank, label, offset).

    A state is a pair: of the language model, among the hot words.
    """
    work = new_work(8, 8, 8)
    for i, (token, state, blank, label, offset) in enumerate(entries):
        entry = work.entries[i]
        entry["token"], entry["winner"] = token, NONE
        entry["past"] = 0
        entry["state"], entry["context"] = state
        entry["blank"], entry["label"] = blank, label
        entry["offset"] = offset
    lost = merge_stays(work, len(entries))
    winners = work.entries["winner"][: len(entries)].tolist()
    assert lost == sum(winner != NONE for winner in winners)
    return winners


@pytest.mark.parametrize(
    ("second", "winners"),
    [
        ((1, A, -3.0, -3.0, 0.0), [NONE, 0]),
        ((1, A, -1.0, -1.0, 0.0), [1, NONE]),
        ((1, A, -3.0, -1.0, 0.0), [NONE, NONE]),  # its label may yet win
        ((1, A, -1.0, -3.0, 0.0), [NONE, NONE]),  # its blank may yet win
        ((1, A, -3.0, -3.0, 2.0), [1, NONE]),  # with its offset it is better
        ((2, A, -3.0, -3.0, 0.0), [NONE, NONE]),
        ((1, B, -3.0, -3.0, 0.0), [NONE, NONE]),
        ((1, C, -3.0, -3.0, 0.0), [NONE, NONE]),
    ],
)
def test_only_what_can_never_win_is_merged(second, winners):
    assert merged((1, A, -2.0, -2.0, 0.0), second) == winners


def test_winners_of_winners():
    worse = [(1, A, -score, -score, 0.0) for score in (3.0, 2.0, 1.0)]
    assert merged(*worse) == [1, 2, NONE]


def test_a_node_keeps_its_closest_merges_once_each():
    trie = new_trie(16)
    restart(trie, 0, 0)
    node = add_node(trie, 0, (0, 1, 0, 0, 1, 0, NONE, 0, 0.0))
    for token, gap in ((2, 5.0), (3, 1.0), (2, 4.0), (4, 3.0), (5, 9.0)):
        add_merge(trie, node, 6, 2, (0, token, NONE), (0, 0, gap, gap, 0.0))
    kept, index = {}, trie.nodes["merge"][node]
    while index != NONE:
        merge = trie.merges[index]
        kept[int(merge["token"])] = float(merge["score_gap"])
        index = merge["next"]
    assert kept == {3: 1.0, 4: 3.0}
