"""The decoders that the beam search benchmark compares, in one form.

Each has a width of 5, takes the posteriors of a part and gives its texts and
the seconds of processor time they took. What brings the posteriors into a
decoder's form is not timed. ``weights`` are the settings that tuning tries
with the first of ``variants``; the others trade accuracy for speed.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from beam_inputs import Part, Task

from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.lm.corpus import lm_words

BEAM = 5
Settings = dict[str, float]


@dataclass(frozen=True)
class Found:
    """The texts of a part's utterances and the seconds they took."""

    texts: list[str]
    seconds: float


class Decoder(Protocol):
    """Interface of a decoder in the benchmark."""

    name: str
    weights: Sequence[Settings]
    variants: Sequence[Settings]

    def search(self, part: Part, **settings: float) -> Found:
        """Find the texts of a part's utterances."""


def grid(**values: Sequence[float]) -> list[Settings]:
    """All combinations of some values of each setting."""
    return [
        dict(zip(values, map(float, point), strict=True))
        for point in itertools.product(*values.values())
    ]


def timed(work: Callable[[], list[str]]) -> Found:
    """Do the work and measure its processor time, which other work on the
    machine does not count into."""
    start = time.process_time()
    texts = work()
    return Found(texts, time.process_time() - start)


class Ours:
    """``prefix_beam_search``, with its default pruning.

    Arguments
    ---------
    task : Task
        Whose n-gram of pieces it takes.
    """

    name = "ours, pieces"
    weights = grid(
        lm_weight=(0.2, 0.3, 0.5, 0.7, 1.0), token_bonus=(0, 0.5, 1, 1.5, 2, 3)
    )
    variants = ({},)

    def __init__(self, task: Task):
        self.task, self.lm = task, task.lm

    def search(self, part: Part, **settings: float) -> Found:
        """Find the texts of a part's utterances."""
        options = BeamOptions(BEAM, **settings)
        decode = self.task.tokenizer.decode

        def work() -> list[str]:
            found = prefix_beam_search(part.posteriors, options, self.lm)
            return [decode(hypotheses[0].tokens) for hypotheses in found]

        return timed(work)


class OursOfWords(Ours):
    """The same with the n-gram of words."""

    name = "ours, words"

    def __init__(self, task: Task):
        self.task, self.lm = task, task.word_lm


class Flashlight:
    """flashlight-text, lexicon-free, with the same n-gram of pieces.

    It has no bonus for tokens, and weighs log10 of the language model.
    """

    name = "flashlight-text"
    weights = grid(lm_weight=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0))
    variants = grid(beam_size_token=(16, 8, 5))

    def __init__(self, task: Task):
        from flashlight.lib.text import decoder
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        self.task, self.module = task, decoder
        self.lm = KenLM(
            str(task.piece_arpa), Dictionary(lm_words(task.tokenizer))
        )

    def search(self, part: Part, **settings: float) -> Found:
        """Find the texts of a part's utterances."""
        options = self.module.LexiconFreeDecoderOptions(
            beam_size=BEAM,
            beam_size_token=min(
                int(settings["beam_size_token"]), self.task.tokenizer.size
            ),
            beam_threshold=25.0,
            lm_weight=settings["lm_weight"] * math.log(10),
            sil_score=0.0,
            log_add=True,
            criterion_type=self.module.CriterionType.CTC,
        )
        decoder = self.module.LexiconFreeDecoder(options, self.lm, 0, 0, [])
        inputs = [(p.ctypes.data, *p.shape) for p in part.posteriors]

        def work() -> list[str]:
            return [self._text(decoder.decode(*i)[0].tokens) for i in inputs]

        return timed(work)

    def _text(self, path: Sequence[int]) -> str:
        """Merge repeats and leave the blanks out."""
        tokens = [token for token, _ in itertools.groupby(path) if token > 0]
        return self.task.tokenizer.decode(tokens)


class SpeechBrain:
    """SpeechBrain's CTCPrefixBeamSearcher, with an n-gram of words."""

    name = "SpeechBrain"
    weights = grid(alpha=(0.2, 0.3, 0.5, 0.8, 1.2), beta=(0, 1.5, 3, 5, 7))
    variants = (
        {},
        {"blank_skip_threshold": 0.999},
        {"blank_skip_threshold": 0.999, "token_prune_min_logp": -3.0},
        {"blank_skip_threshold": 0.999, "token_prune_min_logp": -8.0},
    )

    def __init__(self, task: Task):
        import kenlm
        from speechbrain.decoders.ctc import CTCPrefixBeamSearcher
        from speechbrain.integrations.decoders.kenlm_scorer import KenlmScorer

        self.task, self.model = task, kenlm.Model(str(task.word_arpa))
        self.searcher, self.scorer = CTCPrefixBeamSearcher, KenlmScorer

    def search(
        self, part: Part, alpha: float, beta: float, **settings: float
    ) -> Found:
        """Find the texts of a part's utterances."""
        searcher = self.searcher(
            0, labels(self.task), beam_size=BEAM, **settings
        )
        # as it does with a path, but without reading the file each time
        searcher.lm = self.scorer(self.model, self.task.words, alpha, beta)
        inputs = [torch.from_numpy(p)[None] for p in part.posteriors]

        def work() -> list[str]:
            return [searcher(values)[0][0].text for values in inputs]

        return timed(work)


class Pyctcdecode:
    """pyctcdecode in a process of another Python, with an n-gram of words.

    Arguments
    ---------
    task : Task
        What it will be asked.
    python : str
        The other Python, which has pyctcdecode and kenlm.
    folder : Path
        Where the posteriors are handed over.
    """

    name = "pyctcdecode"
    weights = SpeechBrain.weights
    variants = (
        {},
        {"token_min_logp": -3.0},
        {"token_min_logp": -8.0},
    )

    def __init__(self, task: Task, python: str, folder: Path):
        self.task, self.folder = task, folder
        np.savez(folder / "tuning.npz", *task.tuning.posteriors)
        np.savez(folder / "measured.npz", *task.measured.posteriors)
        worker = Path(__file__).with_name("pyctcdecode_worker.py")
        self.process = subprocess.Popen(
            [python, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"OMP_NUM_THREADS": "1"},
        )
        self._ask(
            labels=["", *labels(task)[1:]],
            arpa=str(task.word_arpa),
            words=task.words,
            beam=BEAM,
        )

    def search(self, part: Part, **settings: float) -> Found:
        """Find the texts of a part's utterances."""
        name = "tuning" if part is self.task.tuning else "measured"
        file = str(self.folder / f"{name}.npz")
        return Found(**self._ask(file=file, settings=settings))

    def _ask(self, **question: object) -> dict:
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("pyctcdecode ended; see its message above")
        return json.loads(answer)


def labels(task: Task) -> list[str]:
    """Pieces as decoders of words read them: a single one is a space."""
    pieces = task.tokenizer.pieces
    if max(map(len, pieces[1:])) > 1:
        return pieces
    return [piece.replace("▁", " ") for piece in pieces]


def tuned(decoder: Decoder, task: Task) -> Settings:
    """Choose a decoder's settings on the tuning part.

    The weights with the fewest errors; of the variants whose errors are within
    2 % of the fewest, the fastest.
    """

    def attempt(settings: Settings) -> tuple[float, float, Settings]:
        found = decoder.search(task.tuning, **settings)
        return task.error(task.tuning, found.texts), found.seconds, settings

    first, *others = decoder.variants
    tried = [attempt({**first, **point}) for point in decoder.weights]
    best = min(tried, key=itemgetter(0))
    tried = [best, *(attempt({**best[2], **other}) for other in others)]
    fewest = min(error for error, *_ in tried)
    good = [row for row in tried if row[0] <= 1.02 * fewest]
    return min(good, key=itemgetter(1))[2]
