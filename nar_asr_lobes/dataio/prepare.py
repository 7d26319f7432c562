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
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from nar_asr_lobes.dataio.audio.reading import audio_blocks, audio_info
from nar_asr_lobes.dataio.audio.silence import cut_at_quiet
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.checks import Finding, summarize
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
        rows = [_normalized(row, text_style) for row in found]
        if all(row.text is None for row in rows):
            rows = _cut_long(rows, max_seconds, data_root)
        _check_split(name, rows)
        _log_invisible(name, found)
        paths[name] = Path(save_folder) / f"{name}.jsonl"
        write_manifest(paths[name], rows, data_root)
        hours = sum(row.duration for row in rows) / 3600
        logger.info("%s: %d utterances, %.2f h", name, len(rows), hours)
    return paths


def tsv_utterances(
    folder: str | os.PathLike, required: Collection[str] = ()
) -> dict[str, list[Utterance]]:
    """Read a data set described by `utterances.tsv` in its folder.

    Arguments
    ---------
    folder : str or path
        Holds `utterances.tsv` with the columns id, audio (path relative to
        the folder), speaker, split, duration (seconds) and text.
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
    first_use: dict[str, Utterance] = {}
    faults = []
    for row in rows:
        if row.id in first_use:
            faults.append(
                f"split {name!r}: id {row.id} stands for"
                f" {first_use[row.id].audio} and again for {row.audio}"
            )
        first_use.setdefault(row.id, row)
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
    return _in_threads(partial(_measured, root=root), files, root)


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
    return _in_threads(_with_duration, rows, root)


def _with_duration(row: Utterance) -> Utterance | Finding:
    if not math.isnan(row.duration):
        return row
    try:
        seconds = audio_info(row.audio, math.inf).seconds
        return replace(row, duration=seconds)
    except AudioError as error:
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
    cut = partial(_stretches, max_seconds=max_seconds, root=root)
    return list(chain.from_iterable(_in_threads(cut, rows, root)))


def _in_threads(
    work: Callable, items: Iterable, root: str | os.PathLike
) -> list:
    """Do some work on each item; of those with a finding give a warning."""
    # Decoding leaves Python's lock alone, so threads share the processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(
            tqdm(
                pool.map(work, items),
                "reading",
                leave=False,
                disable=None,  # where it is no terminal
            )
        )
    findings = [item for item in found if isinstance(item, Finding)]
    if is_collecting():
        for number, x in enumerate(found, 1):
            if isinstance(x, Finding):
                place = x.place or f"{root}: audio {number}"
                refuse([f"{place}: {x.problem}"], x.remedy)
    elif findings:
        logger.warning("left out of %s: %s", root, summarize(findings))
    return [item for item in found if not isinstance(item, Finding)]


def _measured(file: Path, root: str | os.PathLike) -> Utterance | Finding:
    name = Path(os.path.relpath(file, root)).with_suffix("").as_posix()
    try:
        str(file).encode()  # as a manifest needs it
        row = Utterance(name, str(file.absolute()), math.nan)
        return _with_duration(row)
    except UnicodeEncodeError:
        problem = "has a name that is not UTF-8"
        return Finding(ascii(name), ascii(str(file)), problem, "rename it")


def _stretches(
    row: Utterance, max_seconds: float, root: str | os.PathLike
) -> list[Utterance] | Finding:
    if row.duration <= max_seconds:
        return [row]
    path = os.path.join(root, row.audio)
    try:
        return [
            replace(
                row,
                id=f"{row.id}-{first / SAMPLE_RATE:.2f}",
                start=first / SAMPLE_RATE,
                duration=len(wav) / SAMPLE_RATE,
            )
            for first, wav in cut_at_quiet(
                audio_blocks(path, math.inf), max_seconds
            )
        ]
    except AudioError as error:
        return Finding(row.id, row.audio, error.problem, error.remedy)
