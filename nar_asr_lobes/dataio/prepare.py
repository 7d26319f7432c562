"""Data preparation shared by all recipes: a parser's rows -> manifests.

    prepare(data_folder) -> {"train": utterances, …} -> save_folder/train.jsonl

A recipe's parser only names the utterances; normalisation, checks and writing
are done here, once. Recordings without transcripts may lie in folders of any
depth and last hours: they are cut at quiet places into utterances with a start
in their file, without copying.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.audio.jobs import run_audio_jobs
from nar_asr_lobes.dataio.audio.reading import audio_blocks, audio_info
from nar_asr_lobes.dataio.audio.silence import cut_at_quiet
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.checks import Finding, summarize
from nar_asr_lobes.dataio.formats.columns import GROUPS
from nar_asr_lobes.dataio.formats.tables import read_tsv
from nar_asr_lobes.dataio.manifest import (
    Utterance,
    is_collecting,
    refuse,
    write_manifest,
)
from nar_asr_lobes.dataio.text.normalization import (
    count_invisible,
    normalize_text,
)
from nar_asr_lobes.errors import AudioError, UserError

logger = logging.getLogger(__name__)

_AUDIO_ENDINGS = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a")
_Row = Utterance | Finding
_left_out: ContextVar[list[Finding] | None] = ContextVar(
    "_left_out", default=None
)
UTTERANCE_COLUMNS = ("id", "audio", "speaker", "split", "duration", "text")


def prepare_manifests(
    splits: Mapping[str, Iterable[Utterance]],
    save_folder: str | os.PathLike,
    data_root: str | os.PathLike,
    text_style: str = "none",
    max_seconds: float = math.inf,
) -> dict[str, Path]:
    """Write one manifest for each split of a data set.

    Arguments
    ---------
    splits : mapping of str to iterable of Utterance
        From a recipe's `prepare`; read once, in order.
    save_folder : str or path
        Where SPLIT.jsonl goes.
    data_root : str or path
        Folder that the stored audio paths are relative to.
    text_style : str
        See `normalize_text`; applied to every transcript.
    max_seconds : float
        Longer utterances of a split without transcripts are cut, see
        `_cut_long`.

    Returns
    -------
    dict of str to Path
        The manifest of each split.

    Raises
    ------
    UserError
        For no splits, an empty split, or ids that stand twice in one split.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> rows = [Utterance("u1", "u1.wav", 1.0, text="Good morning.")]
    >>> paths = prepare_manifests({"train": rows}, folder, folder, "english")
    >>> paths["train"].name
    'train.jsonl'
    """
    if not splits:
        raise UserError(
            "the data preparation returned no splits; name at least one in"
            " its options"
        )
    paths = {}
    for name, utterances in splits.items():
        found = list(utterances)
        rows = normalize_rows(found, text_style, max_seconds, data_root)
        _check_split(name, rows)
        _log_invisible(name, found)
        paths[name] = Path(save_folder) / f"{name}.jsonl"
        write_manifest(paths[name], rows, data_root)
        hours = sum(row.duration for row in rows) / 3600
        logger.info("%s: %d utterances, %.2f h", name, len(rows), hours)
    return paths


def normalize_rows(
    rows: Sequence[Utterance],
    text_style: str,
    max_seconds: float,
    data_root: str | os.PathLike,
) -> list[Utterance]:
    """Normalise transcripts; where there are none, cut long audio.

    Example
    -------
    >>> rows = [Utterance("u1", "u1.wav", 1.0, text="Good morning.")]
    >>> normalize_rows(rows, "english", 30.0, "/corpus")[0].text
    'good morning'
    """
    rows = [_normalized(row, text_style) for row in rows]
    if all(row.text is None for row in rows):
        return _cut_long(rows, max_seconds, data_root)
    return rows


def tsv_utterances(
    folder: str | os.PathLike, required: Collection[str] = ()
) -> dict[str, list[Utterance]]:
    """Read a data set described by `utterances.tsv` in its folder.

    Arguments
    ---------
    folder : str or path
        Holds `utterances.tsv` with the columns id, audio (path relative to
        the folder), speaker, split, duration (seconds) and text; those of
        `GROUPS`, such as age and gender, become groups.
    required : collection of str
        Splits that must be there.

    Returns
    -------
    dict of str to list of Utterance
        By the name in the split column; empty text becomes None.

    Raises
    ------
    UserError
        For a table that is missing or malformed, durations that are no
        numbers, and a required split that is not there.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "utterances.tsv").write_text(
    ...     "id\\taudio\\tspeaker\\tsplit\\tduration\\ttext\\n"
    ...     "u1\\tu1.wav\\ts1\\ttest\\t1.5\\tgood morning\\n"
    ... )
    >>> tsv_utterances(folder)["test"][0].duration
    1.5
    """
    table = Path(folder) / "utterances.tsv"
    splits: dict[str, list[Utterance]] = {}
    faults = []
    for row in read_tsv(table, UTTERANCE_COLUMNS):
        try:
            seconds = float(row["duration"])
        except ValueError:
            faults.append(f"{row.where}: the duration is not a number")
            continue
        utterance = Utterance(
            id=row["id"],
            audio=str(Path(folder).absolute() / row["audio"]),
            duration=seconds,
            text=row["text"] or None,
            speaker=row["speaker"] or None,
            groups={x: row[x] for x in GROUPS if row.get(x)} or None,
            where=row.where,
        )
        splits.setdefault(row["split"], []).append(utterance)
    refuse(faults, "correct these lines")
    for name in required:
        if name not in splits:
            raise UserError(
                f"{table}: split {name!r} is missing; it has "
                f"{', '.join(splits) or 'none'}, expected {', '.join(required)}"
            )
    return splits


def _normalized(row: Utterance, style: str) -> Utterance:
    if row.text is None:
        return row
    return replace(row, text=normalize_text(row.text, style))


def _log_invisible(name: str, rows: Iterable[Utterance]) -> None:
    counts = [n for n in (count_invisible(row.text or "") for row in rows) if n]
    if counts:
        logger.warning(
            "%s: %d invisible characters removed from %d transcripts",
            name,
            sum(counts),
            len(counts),
        )


def _check_split(name: str, rows: Sequence[Utterance]) -> None:
    if not rows:
        raise UserError(
            f"split {name!r} has no utterances; check the data folder, or"
            " name another split in the YAML's data section"
        )
    first_use: dict[str, str] = {}
    faults = []
    for number, row in enumerate(rows, 1):
        where = row.where or f"utterance {number}"
        if row.id in first_use:
            first = first_use[row.id]
            faults.append(f"split {name!r}: {where} has the id of {first}")
        first_use.setdefault(row.id, where)
    refuse(faults, "give every utterance of a split its own id")


def visible_files(
    folder: str | os.PathLike, endings: Sequence[str] = _AUDIO_ENDINGS
) -> list[Path]:
    """Find the files below a folder, in order, without hidden ones.

    Arguments
    ---------
    folder : str or path
        Searched at any depth. Names that begin with a dot are passed over:
        macOS puts a `._NAME` beside each file that it copies.
    endings : sequence of str
        Ends of the names, in lower case.

    Returns
    -------
    list of Path

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.WAV").touch(), (folder / "._a.WAV").touch()
    (None, None)
    >>> [path.name for path in visible_files(folder)]
    ['a.WAV']
    """
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [
            Path(parent, name)
            for name in names
            if name[0] != "." and name.lower().endswith(tuple(endings))
        ]
    return sorted(found)


def measure_files(
    files: Sequence[Path], root: str | os.PathLike
) -> list[Utterance]:
    """Make one utterance of each audio file, long ones too.

    Arguments
    ---------
    files : sequence of Path
        The files. One that cannot be read is left out, with a warning.
    root : str or path
        Folder that their ids start from.

    Returns
    -------
    list of Utterance
        Without transcripts. An id is the path below the root without its
        ending, so that equal names in two folders differ.

    Example
    -------
    >>> import tempfile
    >>> measure_files([Path("no/a.wav")], "no")
    []
    """
    rows = [_named(file, root, number) for number, file in enumerate(files, 1)]
    return _usable(_measured(rows), root)


def with_durations(
    rows: Iterable[Utterance], root: str | os.PathLike
) -> list[Utterance]:
    """Measure the files of the utterances whose duration is NaN.

    Arguments
    ---------
    rows : iterable of Utterance
        The others stay as they are.
    root : str or path
        Named in the warning about files that cannot be read, which are left
        out.

    Returns
    -------
    list of Utterance

    Example
    -------
    >>> with_durations([Utterance("u1", "u1.wav", 1.5)], "x")[0].duration
    1.5
    """
    return _usable(_measured(rows), root)


def _measured(rows: Iterable[_Row]) -> list[_Row]:
    """Measure the files of the utterances whose duration is NaN."""
    rows = list(rows)
    jobs = [(row.audio,) for row in rows if _is_unmeasured(row)]
    found = run_audio_jobs(_seconds, jobs, "reading")
    measured = []
    for row in rows:
        if _is_unmeasured(row):
            seconds = found[(row.audio,)]
            if isinstance(seconds, AudioError):
                row = unusable(row, seconds)
            else:
                row = replace(row, duration=seconds)
        measured.append(row)
    return measured


def _is_unmeasured(row: _Row) -> bool:
    return isinstance(row, Utterance) and math.isnan(row.duration)


def _seconds(path: str) -> float:
    return audio_info(path, math.inf).seconds


def unusable(row: Utterance, error: AudioError) -> Finding:
    """Make the finding of an utterance whose audio cannot be read."""
    return Finding(
        row.id, row.audio, error.problem, error.remedy, place=row.where
    )


def _cut_long(
    rows: Iterable[Utterance], max_seconds: float, root: str | os.PathLike
) -> list[Utterance]:
    """Cut utterances that are longer than a limit at their quietest places."""
    rows = list(rows)
    seconds = sum(row.duration for row in rows if row.duration > max_seconds)
    if max_seconds < 2 or not seconds:
        return rows
    logger.info("cutting %.2f h of long audio at quiet places", seconds / 3600)
    jobs = {
        row.audio: (os.path.join(root, row.audio), max_seconds)
        for row in rows
        if row.duration > max_seconds
    }
    found = run_audio_jobs(_stretches, jobs.values(), "cutting")
    cut: list[_Row] = []
    for row in rows:
        stretches = found.get(jobs.get(row.audio))
        if row.duration <= max_seconds:
            cut.append(row)
        elif isinstance(stretches, AudioError):
            cut.append(unusable(row, stretches))
        else:
            cut += [_stretch(row, *samples) for samples in stretches]
    return _usable(cut, root)


def _stretches(path: str, max_seconds: float) -> list[tuple[int, int]]:
    """Cut at quiet places; give first sample and length of each stretch."""
    blocks = audio_blocks(path, math.inf)
    return [(x, len(wav)) for x, wav in cut_at_quiet(blocks, max_seconds)]


def _stretch(row: Utterance, first: int, samples: int) -> Utterance:
    start = first / SAMPLE_RATE
    seconds = samples / SAMPLE_RATE
    return replace(
        row, id=f"{row.id}-{start:.2f}", start=start, duration=seconds
    )


@contextmanager
def collect_left_out() -> Iterator[list[Finding]]:
    """Collect the findings of files that are left out while a corpus is listed.

    Yields
    ------
    list of Finding
        Gets them.

    Example
    -------
    >>> with collect_left_out() as found:
    ...     _ = measure_files([Path("no.wav")], ".")
    >>> found[0].id, found[0].problem
    ('no', 'is missing')
    """
    found: list[Finding] = []
    token = _left_out.set(found)
    try:
        yield found
    finally:
        _left_out.reset(token)


def _usable(rows: Iterable[_Row], root: str | os.PathLike) -> list[Utterance]:
    """Leave out the findings, with a warning."""
    usable, findings = [], []
    for number, row in enumerate(rows, 1):
        if isinstance(row, Utterance):
            usable.append(row)
        else:
            place = row.place or f"{root}: audio {number}"
            findings.append(replace(row, place=place))
    if (collected := _left_out.get()) is not None:
        collected += findings
    if is_collecting():
        for finding in findings:
            refuse([f"{finding.place}: {finding.problem}"], finding.remedy)
    elif findings:
        logger.warning("left out of %s: %s", root, summarize(findings))
    return usable


def _named(file: Path, root: str | os.PathLike, number: int) -> _Row:
    where = f"{root}: audio {number}"
    name = Path(os.path.relpath(file, root)).with_suffix("").as_posix()
    try:
        str(file).encode()  # as a manifest needs it
    except UnicodeEncodeError:
        problem = "has a name that is not UTF-8"
        return Finding(
            ascii(name), ascii(str(file)), problem, "rename it", place=where
        )
    return Utterance(name, str(file.absolute()), math.nan, where=where)
