"""Inputs of the beam search benchmark: posteriors and language models.

bundle, audio          -> posteriors of a model; words are counted
Python's own docstrings -> peaky posteriors made here; pieces are counted
the texts of either    -> n-gram of pieces, n-gram of words
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.batching import validation_batches
from nar_asr_lobes.dataio.datasets import Batch, make_batch
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.tokenizer import (
    CharTokenizer,
    Tokenizer,
    train_tokenizer,
)
from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.inference.bundle import Bundle
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.ngram import train_word_ngram

PIECES, FRAME_SECONDS = 1024, 0.04
# Orders of the n-grams; flashlight-text reads none above 6.
_CHARACTERS, _PIECES, _WORDS = 6, 4, 3
# What in a docstring is program text rather than English.
_CODE = re.compile(r"[<>=\[\]{}|\\]|__|-->|\.\.\.")


@dataclass(frozen=True)
class Part:
    """Posteriors float32 [T, V] of N utterances, and what was said, [N]."""

    posteriors: list[np.ndarray]
    references: list[str]

    def __getitem__(self, utterances: slice) -> Part:
        """Take some of the utterances."""
        return Part(self.posteriors[utterances], self.references[utterances])

    @property
    def frames(self) -> int:
        """Frames of all utterances together."""
        return sum(map(len, self.posteriors))


@dataclass(frozen=True)
class Task:
    """Posteriors, and language models of the same text for every decoder.

    Arguments
    ---------
    name : str
        As printed.
    tokenizer : Tokenizer
        Its pieces are the columns of the posteriors.
    frame_seconds : float
        From one frame to the next.
    tuning, measured : Part
        Weights are chosen on the first, all figures are of the second.
    lm : NgramLM
        Of pieces.
    word_lm : NgramLM or None
        Of words, with look-ahead; pieces of several letters cannot spell one.
    piece_arpa, word_arpa : Path
        The same models.
    words : list of str
        All words of that text.
    units : callable
        Cuts a text into what is counted as right or wrong, joined by spaces.
    """

    name: str
    tokenizer: Tokenizer
    frame_seconds: float
    tuning: Part
    measured: Part
    lm: NgramLM
    word_lm: NgramLM | None
    piece_arpa: Path
    word_arpa: Path
    words: list[str]
    units: Callable[[str], str]

    def error(self, part: Part, texts: Sequence[str]) -> float:
        """Rate of wrong words or pieces in %."""
        ids = list(map(str, range(len(texts))))
        known, found = (
            [self.units(text) for text in side]
            for side in (part.references, texts)
        )
        return 100 * score(ids, known, found).wer


def real_batches(folder: str, style: str, count: int) -> list[Batch]:
    """Read utterances of the test split, evenly spaced, in batches of 60 s."""
    rows = [row for row in tsv_utterances(folder)["test"] if row.text]
    rows = rows[:: max(1, len(rows) // count)][:count]
    batches = []
    for indices in validation_batches([row.duration for row in rows], 60.0):
        chosen = [rows[i] for i in indices]
        wavs = [read_audio(row.audio) for row in chosen]
        nothing = [[] for _ in chosen]
        batch = make_batch(chosen, wavs, nothing, [0] * len(chosen))
        batch.texts[:] = [normalize_text(t, style) for t in batch.texts]
        batches.append(batch)
    return batches


@torch.inference_mode()
def real_task(
    bundle: Bundle, batches: list[Batch], data_folder: str, folder: Path
) -> Task:
    """Posteriors of a bundle's model, language models of the train texts."""
    model = bundle.model.eval()
    rows, texts = [], []
    for batch in batches:
        encoded = model.encode(batch.wavs, batch.wav_lens)
        rows += [row.numpy() for row in posteriors(encoded)]
        texts += batch.texts
    train = [
        normalize_text(row.text, bundle.text_style)
        for row in tsv_utterances(data_folder)["train"]
        if row.text
    ]
    size = bundle.tokenizer.size
    return Task(
        f"{Path(data_folder).name}, {size - 1} characters",
        bundle.tokenizer,
        model.frame_seconds,
        # the batches are sorted by length, so every third is a fair sample
        Part(rows, texts)[::3],
        Part(
            [row for i, row in enumerate(rows) if i % 3],
            [text for i, text in enumerate(texts) if i % 3],
        ),
        units=str,
        **_language_models(train, bundle.tokenizer, _CHARACTERS, folder),
    )


def peaky_task(count: int, folder: Path) -> Task:
    """Posteriors as of a trained model with 1,024 pieces, 25 a second."""
    rng = np.random.default_rng(0)
    lines = _lines(rng)
    held_out, train = lines[:count], lines[count:]
    tokenizer = train_tokenizer(train, "unigram", PIECES + 1)
    known = Part([], [])
    for line in held_out:
        known.posteriors.append(peaky(rng, tokenizer.encode(line)))
        known.references.append(line)

    def pieces(text: str) -> str:
        return " ".join(map(str, tokenizer.encode(text)))

    return Task(
        f"peaky, {PIECES:,} pieces",
        tokenizer,
        FRAME_SECONDS,
        known[: count // 3],
        known[count // 3 :],
        units=pieces,
        **_language_models(train, tokenizer, _PIECES, folder),
    )


def _lines(rng: np.random.Generator) -> list[str]:
    """Shuffled sentences of Python's own docstrings, four to a line."""
    sentences = list(dict.fromkeys(_sentences()))
    rng.shuffle(sentences)
    letters = set("abcdefghijklmnopqrstuvwxyz' ")
    sentences = [s for s in sentences if not set(s) - letters]
    return [
        " ".join(sentences[i : i + 4]) for i in range(0, len(sentences) - 3, 4)
    ]


def _sentences() -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    files = [*library.glob("*.py"), *library.glob("[a-z]*/*.py")]
    for path in sorted(files):
        if path.parent.name in ("test", "site-packages"):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                for sentence in re.split(r"\n\n|(?<=[.?!:])\s", text):
                    words = normalize_text(sentence, "english").split()
                    if 5 <= len(words) <= 40 and not _CODE.search(sentence):
                        yield " ".join(words)


def peaky(rng: np.random.Generator, tokens: Sequence[int]) -> np.ndarray:
    """Posteriors with a peak of each token every two to six frames.

    The peak has four rivals, and the blank for a fifth; about one in eleven
    wins. Between the peaks the blank is sure.
    """
    places = np.cumsum(rng.integers(2, 7, size=len(tokens)))
    logits = rng.normal(size=(places[-1] + 3, PIECES + 1))
    logits[:, 0] += 16
    for place, token in zip(places, tokens, strict=True):
        row = logits[place]
        row[0] = rng.normal(8, 2)
        rivals = rng.integers(1, PIECES + 1, size=4)
        row[rivals] = rng.normal(8, 2, size=4)
        row[token] = rng.normal(13.5, 2)
        logits[place + 1, token] = rng.normal(11, 3)
    return _log_softmax(logits)


def flat(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Posteriors that know nothing."""
    return _log_softmax(rng.normal(scale=0.1, size=(frames, PIECES + 1)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).log_softmax(-1).float().numpy()


def _language_models(
    texts: Sequence[str], tokenizer: Tokenizer, order: int, folder: Path
) -> dict[str, object]:
    """Train both n-grams; return what a ``Task`` says of them."""
    pieces = train_ngram(texts, tokenizer, order, folder / "pieces.arpa")
    # an n-gram of words is spelled in characters; peers read its ARPA file
    characters = isinstance(tokenizer, CharTokenizer)
    speller = tokenizer if characters else train_tokenizer(texts)
    words = train_word_ngram(texts, speller, _WORDS, folder / "words.arpa")
    return {
        "lm": NgramLM.load(pieces.path, tokenizer),
        "piece_arpa": pieces.arpa,
        "word_lm": NgramLM.load(words.path, speller) if characters else None,
        "word_arpa": words.arpa,
        "words": sorted({word for text in texts for word in text.split()}),
    }
