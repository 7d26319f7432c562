"""Error rates with their counts and alignments, and recall of listed phrases.

    references [N], hypotheses [N] -> alignment -> ErrorCounts, HotCounts

N is the number of utterances. All counts are summed over the utterances before
they are divided, so long utterances weigh more than short ones. The texts are
compared as given: bring both to one style with dataio.text first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import jiwer

from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.dataio.text.normalization import (
    mostly_without_words,
    text_width,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import write_text

_GAP = "*"
_BLOCK = re.compile(
    r"(.*): (\d+) (?:words|characters), (\d+) S, (\d+) D, (\d+) I"
)


@dataclass(frozen=True)
class ErrorCounts:
    """Errors of a set of hypotheses against their references.

    Arguments
    ---------
    utterances : int
        Number of utterances compared.
    wrong_utterances : int
        Those with at least one word error.
    hits, substitutions, deletions, insertions : int
        Words, in an alignment with the fewest errors.
    character_errors, reference_characters : int
        The same for characters; the space between two words is one.
    has_words : bool
        Whether the references have spaces between words. Otherwise an
        utterance is one word, and the character error rate counts.

    Example
    -------
    >>> counts = score(["u1"], ["no chest pain"], ["no chest pains today"])
    >>> counts.substitutions, counts.deletions, counts.insertions, counts.hits
    (1, 0, 1, 2)
    >>> round(counts.wer, 3), counts.reference_words
    (0.667, 3)
    """

    utterances: int
    wrong_utterances: int
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    character_errors: int
    reference_characters: int
    has_words: bool = True

    @property
    def reference_words(self) -> int:
        """Number of words in all references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def word_errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate as a fraction; above 1 with many insertions."""
        return self.word_errors / self.reference_words

    @property
    def cer(self) -> float:
        """Character error rate as a fraction."""
        return self.character_errors / self.reference_characters


def score(
    ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]
) -> ErrorCounts:
    """Count the errors of hypotheses against references.

    Arguments
    ---------
    ids : sequence of str
        Unique names of the utterances, [N], N at least 1.
    references : sequence of str
        The transcripts, [N]; at least one word each.
    hypotheses : sequence of str
        The recognised texts, [N]; an empty one counts as deletions.

    Returns
    -------
    ErrorCounts
        Raises UserError, with the ids, for an empty reference or an id that
        stands twice, and ValueError for lists of different lengths.

    Example
    -------
    >>> counts = score(["a", "b"], ["yes", "oh no"], ["yes", ""])
    >>> counts.deletions, round(counts.wer, 3), counts.wrong_utterances
    (2, 0.667, 1)
    """
    _check(ids, references, hypotheses)
    references, hypotheses = _squeeze(references), _squeeze(hypotheses)
    words = jiwer.process_words(references, hypotheses)
    characters = jiwer.process_characters(references, hypotheses)
    return ErrorCounts(
        utterances=len(ids),
        wrong_utterances=sum(
            any(chunk.type != "equal" for chunk in chunks)
            for chunks in words.alignments
        ),
        hits=words.hits,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        character_errors=characters.substitutions
        + characters.deletions
        + characters.insertions,
        reference_characters=characters.hits
        + characters.substitutions
        + characters.deletions,
        has_words=not mostly_without_words(references),
    )


def write_alignments(
    path: str | Path,
    ids: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
) -> ErrorCounts:
    """Write each utterance's alignment to a text file.

    One block an utterance: its id with its counts, the reference and the
    hypothesis in columns ("*" where one has no word), and S, D or I below a
    wrong word. Characters stand for words where the references have no spaces.
    The file holds the texts in full.

    Arguments
    ---------
    path : str or Path
        Written anew; its folder is made when missing.
    ids, references, hypotheses : sequences of str
        As for score, with the same errors raised.

    Returns
    -------
    ErrorCounts
        The counts of score, which also stand in the file's first line.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "alignments.txt")
    ...     _ = write_alignments(path, ["u1"], ["no chest pain"], ["no pain"])
    ...     print(path.read_text())
    1 utterances, 3 words, WER 33.33 % (0 S, 1 D, 0 I)
    <BLANKLINE>
    u1: 3 words, 0 S, 1 D, 0 I
    REF: no chest pain
    HYP: no *     pain
            D
    <BLANKLINE>
    """
    counts = score(ids, references, hypotheses)
    texts = _squeeze(references), _squeeze(hypotheses)
    if counts.has_words:
        found, unit = jiwer.process_words(*texts), "words"
        rate = f"WER {counts.wer:.2%}"
    else:
        found, unit = jiwer.process_characters(*texts), "characters"
        rate = f"CER {counts.cer:.2%}"
    total = found.hits + found.substitutions + found.deletions
    lines = [
        f"{counts.utterances} utterances, {total} {unit}, "
        f"{rate.replace('%', ' %')} ({found.substitutions} S, "
        f"{found.deletions} D, {found.insertions} I)"
    ]
    for row in zip(
        ids, found.references, found.hypotheses, found.alignments, strict=True
    ):
        lines += ["", *_align(*row, unit)]
    write_text(path, "\n".join(lines) + "\n")
    return counts


def read_error_counts(path: str | Path) -> dict[str, tuple[int, int]]:
    """Read the errors of each utterance from a file of ``write_alignments``.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    dict of str to tuple of int
        By id the errors and the length of the reference, in words or
        characters.

    Raises
    ------
    UserError
        For a file that is not there or of another form.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "alignments.txt")
    >>> _ = write_alignments(path, ["u1"], ["no chest pain"], ["no pain"])
    >>> read_error_counts(path)
    {'u1': (1, 3)}
    """
    counts, begins = {}, False
    for line in read_lines(path):
        found = _BLOCK.fullmatch(line) if begins else None
        if found:
            total, *errors = map(int, found.groups()[1:])
            counts[found[1]] = sum(errors), total
        begins = not line
    if not counts:
        raise UserError(f"{path}: holds no alignment; evaluate again")
    return counts


def _check(
    ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]
) -> None:
    if not len(ids) == len(references) == len(hypotheses):
        raise ValueError(
            f"{len(ids)} ids, {len(references)} references and "
            f"{len(hypotheses)} hypotheses; give one of each per utterance"
        )
    if not ids:
        raise UserError("no utterances to score; give at least one")
    empty = [
        name
        for name, text in zip(ids, references, strict=True)
        if not text.split()
    ]
    if empty:
        raise UserError(
            f"{_name(empty)}: the reference is empty, so a word error rate is "
            "not defined; leave the utterance out or correct its transcript"
        )
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise UserError(
            f"{_name(twice)}: the id stands more than once among the "
            "utterances to score; keep one of them"
        )


def _squeeze(texts: Sequence[str]) -> list[str]:
    """Write one plain space wherever a text has white space inside."""
    return [" ".join(text.split()) for text in texts]


def _name(ids: Sequence[str], shown: int = 3) -> str:
    """The first ids, and how many more there are."""
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return ", ".join(ids[:shown]) + more


def _align(
    name: str,
    reference: list[str],
    hypothesis: list[str],
    chunks: list[jiwer.AlignmentChunk],
    unit: str,
) -> Iterator[str]:
    """Yield the lines of one utterance's block."""
    columns = list(_columns(reference, hypothesis, chunks))
    marks = Counter(mark for _, _, mark in columns)
    counts = ", ".join(f"{marks[mark]} {mark}" for mark in "SDI")
    yield f"{name}: {len(reference)} {unit}, {counts}"
    widths = [max(map(text_width, column)) for column in columns]
    for label, row in zip(
        ("REF: ", "HYP: ", "     "), zip(*columns, strict=True), strict=True
    ):
        cells = (
            cell + " " * (width - text_width(cell))
            for cell, width in zip(row, widths, strict=True)
        )
        line = (label + " ".join(cells)).rstrip()
        if line:
            yield line


def _columns(
    reference: list[str],
    hypothesis: list[str],
    chunks: list[jiwer.AlignmentChunk],
) -> Iterator[tuple[str, str, str]]:
    """Yield reference word, hypothesis word and mark of each position."""
    for said, heard in word_pairs(reference, hypothesis, chunks):
        mark = "" if said == heard else "S"
        if not heard:
            mark = "D"
        elif not said:
            mark = "I"
        yield said or _GAP, heard or _GAP, mark


def word_pairs(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    chunks: Iterable[jiwer.AlignmentChunk],
) -> Iterator[tuple[str, str]]:
    """Yield the words that an alignment puts beside each other.

    Arguments
    ---------
    reference, hypothesis : sequence of str
        The words.
    chunks : iterable of jiwer.AlignmentChunk
        Their alignment.

    Yields
    ------
    tuple of str
        Word of the reference and of the hypothesis; "" where one has none.

    Example
    -------
    >>> found = jiwer.process_words("no chest pain", "no pain")
    >>> list(word_pairs(*found.references, *found.hypotheses,
    ...     *found.alignments))
    [('no', 'no'), ('chest', ''), ('pain', 'pain')]
    """
    for chunk in chunks:
        yield from zip_longest(
            reference[chunk.ref_start_idx : chunk.ref_end_idx],
            hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx],
            fillvalue="",
        )


def oracle_texts(
    references: Sequence[str], nbests: Sequence[Sequence[str]]
) -> list[str]:
    """Pick from each N-best list the hypothesis with the fewest errors.

    Arguments
    ---------
    references : sequence of str
        The transcripts, [N]; at least one word each.
    nbests : sequence of sequence of str
        The hypotheses of each utterance, at least one, best first.

    Returns
    -------
    list of str
        [N]; of several with equally few errors the first. Characters stand for
        words where the references have no spaces.

    Example
    -------
    >>> oracle_texts(["no pain"], [["no pan", "no pain", "pain"]])
    ['no pain']
    """
    align = jiwer.process_words
    if mostly_without_words(references):
        align = jiwer.process_characters
    chosen = []
    for reference, nbest in zip(references, nbests, strict=True):
        found = align([reference] * len(nbest), list(nbest))
        rows = zip(
            found.references, found.hypotheses, found.alignments, strict=True
        )
        errors = [sum(a != b for a, b in word_pairs(*row)) for row in rows]
        chosen.append(nbest[errors.index(min(errors))])
    return chosen


@dataclass(frozen=True)
class HotCounts:
    """Occurrences of listed phrases in a set of texts.

    Arguments
    ---------
    said : int
        In the references.
    found : int
        Those whose words are all right in the hypotheses.
    inserted : int
        In the hypotheses where the references have something else.

    Example
    -------
    >>> count_hot(["no pain", "pain"], ["no pain", "pan pain"], ["pain"])
    HotCounts(said=2, found=2, inserted=0)
    >>> count_hot(["some pan"], ["no pain"], ["pain"]).recall is None
    True
    """

    said: int
    found: int
    inserted: int

    @property
    def recall(self) -> float | None:
        """Share of the spoken phrases that were found; None without any."""
        return self.found / self.said if self.said else None


def count_hot(
    references: Sequence[str],
    hypotheses: Sequence[str],
    phrases: Iterable[str],
) -> HotCounts:
    """Count the occurrences of phrases that were found and made up.

    An occurrence counts as right where all its words are equal in an
    alignment with the fewest errors and nothing stands between them. Where
    there are no spaces, characters stand for words.

    Arguments
    ---------
    references : sequence of str
        The transcripts, [N]; at least one word each.
    hypotheses : sequence of str
        The recognised texts, [N].
    phrases : iterable of str
        In the style of the references.

    Returns
    -------
    HotCounts
    """
    split, align = str.split, jiwer.process_words
    if mostly_without_words(references):
        split, align = list, jiwer.process_characters
    wanted = {tuple(split(phrase)) for phrase in phrases}
    words = align(list(references), list(hypotheses))
    said = found = inserted = 0
    for reference, hypothesis, chunks in zip(
        words.references, words.hypotheses, words.alignments, strict=True
    ):
        equal = [chunk for chunk in chunks if chunk.type == "equal"]
        right = [(c.ref_start_idx, c.ref_end_idx) for c in equal]
        heard = [(c.hyp_start_idx, c.hyp_end_idx) for c in equal]
        for place in _places(reference, wanted):
            said += 1
            found += _inside(place, right)
        for place in _places(hypothesis, wanted):
            inserted += not _inside(place, heard)
    return HotCounts(said, found, inserted)


def _places(
    words: list[str], wanted: set[tuple[str, ...]]
) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each phrase among the words."""
    for length in {len(phrase) for phrase in wanted}:
        for begin in range(len(words) - length + 1):
            if tuple(words[begin : begin + length]) in wanted:
                yield begin, begin + length


def _inside(place: tuple[int, int], runs: list[tuple[int, int]]) -> bool:
    """Whether one run of equal words holds the place."""
    return any(a <= place[0] and place[1] <= b for a, b in runs)
