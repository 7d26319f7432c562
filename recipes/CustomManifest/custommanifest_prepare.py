"""CustomManifest: your own corpus, in whatever form it is described.

CSV, TSV or JSON lines, a Kaldi data folder, lhotse cuts or recordings with
supervisions, a NeMo manifest, a Hugging Face audiofolder, or audio files with
a text file each: ``nar_asr_lobes/dataio/formats/detect.py`` recognises it by
its shape. Splits that are not there are made by speaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nar_asr_lobes.dataio.formats.columns import GROUPS
from nar_asr_lobes.dataio.formats.detect import read_corpus
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import with_durations
from nar_asr_lobes.dataio.splits import complete_splits


def prepare(
    data_folder: str,
    files: Mapping[str, str | Sequence[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    groups: Sequence[str] = GROUPS,
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder of the corpus, or the file that describes it.
    files : mapping of str to str or list of str, optional
        A file or folder for each split, or some, where their names do not
        tell: ``{train: [a.csv, b.csv], dev: c.csv, test: d.csv}``.
    columns : mapping of str to str, optional
        Columns of a table by role, where their names do not tell:
        ``{text: prompt}``.
    groups : sequence of str
        Columns that become groups, by which results are given.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev", "test" and "pool" (the audio of train, and all without
        text), and further splits as they are called. Files that cannot be
        read are left out, with a warning, where their length is not stated.

    Raises
    ------
    UserError
        For a form that is not recognised or ambiguous, and faulty lines.
    """
    corpus = read_corpus(data_folder, files, columns, groups)
    root = Path(data_folder).absolute()
    return complete_splits(
        {name: with_durations(rows, root) for name, rows in corpus.items()}
    )
