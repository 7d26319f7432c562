"""Texts for a language model: transcripts of manifests, lines of text files."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from nar_asr_lobes.dataio.manifest import read_sentences


def prepare(texts: list[str], dev_texts: list[str]) -> dict[str, Iterable[str]]:
    """Give the sentences of train, and of dev where files are named for it.

    Arguments
    ---------
    texts, dev_texts : list of str
        Manifests (``.jsonl``) and text files with a sentence a line.

    Returns
    -------
    dict of str to iterable of str
        Read when they are asked for; UserError is raised then.
    """
    named = {"train": texts, "dev": dev_texts}
    return {
        split: chain.from_iterable(map(read_sentences, paths))
        for split, paths in named.items()
        if paths
    }
