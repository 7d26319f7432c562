"""Splits by speaker: disjoint, of about their sizes, the same for ever."""

import itertools
import random
from collections import Counter

import pytest

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.splits import (
    complete_splits,
    split_speakers,
    take_share,
)
from nar_asr_lobes.errors import UserError


def rows_of(speakers, seed=0, text="ah"):
    """Make one to nine utterances of each speaker."""
    rng = random.Random(seed)
    return [
        Utterance(f"{x}-{i}", "a.wav", rng.uniform(1, 9), text, f"s{x}")
        for x in speakers
        for i in range(rng.randint(1, 9))
    ]


def speakers_of(rows):
    return {row.speaker for row in rows}


@pytest.mark.parametrize("count", [3, 4, 10, 200])
def test_splits_are_disjoint_and_hold_every_utterance(count):
    rows = rows_of(range(count))
    splits = split_speakers(rows)
    assert set(splits) == {"train", "dev", "test"}
    assert Counter(x for y in splits.values() for x in y) == Counter(rows)
    parts = [speakers_of(x) for x in splits.values()]
    assert all(parts) and sum(map(len, parts)) == count
    if count == 200:
        total = sum(row.duration for row in rows)
        for name in ("dev", "test"):
            share = sum(row.duration for row in splits[name]) / total
            assert 0.1 <= share < 0.12
    assert split_speakers(rows[::-1])["test"] == splits["test"][::-1]


def test_too_few_speakers():
    with pytest.raises(UserError, match="has 2 speakers; train, .* need 3"):
        split_speakers(rows_of(range(2)))


def test_stored_splits_stay_when_speakers_join(tmp_path):
    store = tmp_path / "splits.json"
    first = split_speakers(rows_of(range(9)), store=store)
    later = split_speakers(rows_of(range(30)), store=store)
    for name in ("dev", "test"):
        assert speakers_of(later[name]) == speakers_of(first[name])
    assert split_speakers(rows_of(range(30)), store=store) == later
    assert "s1" not in store.read_text()
    store.write_text('{"a": ')
    with pytest.raises(UserError, match="splits.json:1: is not valid JSON"):
        split_speakers(rows_of(range(9)), store=store)
    store.write_text("[]")
    with pytest.raises(UserError, match="holds no splits"):
        split_speakers(rows_of(range(9)), store=store)


def test_given_splits_are_kept_and_missing_ones_come_from_train():
    train, test = rows_of(range(20)), rows_of(range(20, 24))
    silent = rows_of([0, 20], text=None)
    splits = complete_splits({"train": train, "test": test, "": silent})
    assert splits["test"] == test
    assert speakers_of(splits["dev"]) < speakers_of(train)
    assert not speakers_of(splits["dev"]) & speakers_of(splits["train"])
    heard = speakers_of(splits["pool"])
    assert heard == speakers_of(splits["train"])  # not s20, of the test set
    assert {row.text for row in splits["pool"]} == {None}
    assert len(splits["pool"]) > len(splits["train"])


def test_audio_alone_is_pool_and_dev():
    splits = complete_splits({"": rows_of(range(20), text=None)})
    assert set(splits) == {"dev", "pool"}
    assert not speakers_of(splits["dev"]) & speakers_of(splits["pool"])


def test_one_speaker_is_split_by_utterance(tmp_path, caplog):
    rows = rows_of([1] * 20)
    rows = [Utterance(f"u{i}", "a", 1.0, "ah", "s1") for i in range(40)]
    splits = complete_splits({"": rows})
    assert "dev are chosen by utterance, for 1 speakers" in caplog.text
    ids = [{row.id for row in splits[x]} for x in ("train", "dev", "test")]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 40
    assert speakers_of(splits["dev"]) == {"s1"}
    with pytest.raises(UserError, match="has 1 speakers"):
        complete_splits({"": rows}, tmp_path / "splits.json")


def test_smaller_shares_are_part_of_larger_ones():
    rows = rows_of(range(50))
    shares = [take_share(rows, share) for share in (0.125, 0.25, 0.5, 1.0)]
    for share, some in zip((0.125, 0.25, 0.5, 1.0), shares, strict=True):
        assert len(some) == round(share * len(rows))
        assert [row for row in rows if row in some] == some
    for smaller, larger in itertools.pairwise(shares):
        assert {row.id for row in smaller} < {row.id for row in larger}
    assert shares[-1] == rows
    turned = take_share(rows[::-1], 0.25)
    assert {row.id for row in turned} == {row.id for row in shares[1]}
    assert len(take_share(rows[:3], 0.01)) == 1
