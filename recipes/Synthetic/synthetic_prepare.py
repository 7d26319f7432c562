"""The Synthetic corpus as utterances; it is made first where it is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from synthetic_corpus import CorpusOptions, make_corpus

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.schema import parse


def prepare(data_folder: str, **options) -> dict[str, Iterable[Utterance]]:
    """Yield the utterances of train, dev, test and pool.

    Arguments
    ---------
    data_folder : str
        Where the corpus is, or is to be made (about 30 s, 90 MB).
    **options
        Fields of ``synthetic_corpus.CorpusOptions``.

    Returns
    -------
    dict of str to list of Utterance
        The pool holds the audio of train and more, without texts;
        data_folder/lm.txt holds sentences for a language model. Raises
        UserError for an unknown option, a folder made with other options,
        and when espeakng-loader is not installed.
    """
    corpus = parse(CorpusOptions, options, "data.options")
    make_corpus(Path(data_folder), corpus)
    splits = tsv_utterances(data_folder)
    pool = [*splits["train"], *splits.pop("extra", [])]
    splits["pool"] = [replace(utterance, text=None) for utterance in pool]
    return splits
