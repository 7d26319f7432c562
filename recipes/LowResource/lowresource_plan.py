"""The plan of the experiment: which trainings a cell of its table needs.

best_rq ----------> transfer to a language -> fine-tuning on its labels: a cell
self-training of it -> labels by that model -> training on them -> fine-tuning
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from lowresource_prepare import prepare
from lowresource_report import RESULTS, Cell

from nar_asr_lobes.training.experiments.trainings import Ngram, Training

_HPARAMS = Path(__file__).resolve().parent / "hparams"
FRAGMENTS = "../../../hparams/objective"
# The frontend's frames are what wav2vec 2.0 guesses; they must not drift.
_OF_OBJECTIVE = {"best_rq": (), "wav2vec2": ("--freeze=frontend",)}
_BASES = ("scratch", "best_rq", "wav2vec2", "transfer", "best_rq-transfer")
# What follows on the first fine-tuning, and the model that gives the labels.
METHODS = {
    "": "",
    "selftrain": "",
    "selftrain2": "selftrain",
    "disjoint": "",
    "mixed": "",
}
# Swahili has less than an hour of labels.
AMOUNTS = {
    "speechocean762": (10, 60, None),
    "yoruba": (10, 60, None),
    "swahili": (10, None),
}
LABELS = "labels.jsonl"
_ORDER = 8  # of the n-gram, as in finetune.yaml
# The options that the plan sets, by stage.
STAGES = {
    "pretrain": ("objective",),
    "transfer": ("data", "init_from", "seed"),
    "finetune": ("data", "lm", "init_from", "modes", "seed"),
    "label": ("data", "lm", "bundle", "modes"),
    "selftrain": ("data", "tokenizer", "init_from", "seed"),
    "gold": ("data", "lm", "tokenizer", "init_from", "modes", "seed"),
}


def join_start(weights: str, method: str) -> str:
    """Name a start from the weights and the method; see ``split_start``."""
    if weights == "scratch" and method:
        return method
    return f"{weights}-{method}" if method else weights


START_NAMES = tuple(join_start(*parts) for parts in product(_BASES, METHODS))


def split_start(start: str) -> tuple[str, str]:
    """Split the name of a start into that of the weights and the method.

    Example
    -------
    >>> split_start("best_rq-transfer-mixed"), split_start("selftrain")
    (('best_rq-transfer', 'mixed'), ('scratch', 'selftrain'))
    """
    weights, _, last = start.rpartition("-")
    if last in METHODS:
        return weights or "scratch", last
    return start, ""


def plan_cells(
    languages: Sequence[str],
    amounts: Sequence[str],
    starts: Sequence[str],
    seeds: int = 1,
) -> list[Cell]:
    """List these languages and amounts with every start, seed by seed.

    With all labels no audio is left for self-training.
    """
    cells = [
        Cell(language, minutes, start, seed)
        for seed in range(1, seeds + 1)
        for language in languages
        for minutes in AMOUNTS[language]
        for start in starts
        if minutes is not None or not split_start(start)[1]
    ]
    return [cell for cell in cells if cell.amount in amounts]


@dataclass(frozen=True)
class Plan:
    """Plans trainings below a folder.

    Arguments
    ---------
    output, data_folder : Path
        Absolute.
    workers : int
        That read for a training.
    stages : dict of str to list of str
        Options of train.py for each stage.
    """

    output: Path
    data_folder: Path
    workers: int
    stages: dict[str, list[str]]

    def cell(self, cell: Cell) -> Training:
        """Plan the last training of a cell, with all that it needs."""
        weights, method = split_start(cell.start)
        start = self._start(weights, cell.language)
        if not method:
            return self._finetuning("finetune", cell, start)
        before = join_start(weights, METHODS[method])
        teacher = self.cell(replace(cell, start=before))
        if method == "disjoint":
            labels = [self._label(cell, teacher, half) for half in (0, 1)]
        else:
            labels = [self._label(cell, teacher)]
        alphabet = [_option("tokenizer", path=str(teacher.folder))]
        if method == "mixed":
            # Of the labels some are a model's: no text to learn from.
            return self._finetuning(
                "gold", cell, start, labels, alphabet, train="mixed"
            )
        pseudo = Training(
            self.output / f"{cell.name}-pseudo",
            str(_HPARAMS / "selftrain.yaml"),
            (
                *self.stages["selftrain"],
                self._data(cell, labels, train="pseudo"),
                *alphabet,
                *_seed(cell),
                *_from(start),
            ),
            RESULTS,
            (*filter(None, (start,)), *labels),
        )
        return self._finetuning("gold", cell, pseudo, (), alphabet)

    def _start(self, name: str, language: str) -> Training | None:
        """Plan the training of the weights that a fine-tuning starts from."""
        if name == "scratch":
            return None
        if name in _OF_OBJECTIVE:
            objective = f"--objective=!include:{FRAGMENTS}/{name}.yaml"
            options = (*_OF_OBJECTIVE[name], *self.stages["pretrain"])
            return Training(
                self.output / name,
                str(_HPARAMS / "pretrain.yaml"),
                (*options, objective),
                "seconds.json",
            )
        before = name.rpartition("-")[0] or "scratch"
        start = self._start(before, language)
        data = {"options": {"language": language}, "workers": self.workers}
        return Training(
            self.output / f"{name}-{language}",
            str(_HPARAMS / "transfer.yaml"),
            (*self.stages["transfer"], _option("data", **data), *_from(start)),
            RESULTS,
            tuple(filter(None, (start,))),
        )

    def _finetuning(
        self,
        stage: str,
        cell: Cell,
        start: Training | None,
        labels: Sequence[Training] = (),
        others: Sequence[str] = (),
        train: str = "train",
    ) -> Training:
        """Plan a training on true labels; write the text without audio.

        The n-gram of every cell of a language has the same text: the
        transcripts of all labels.
        """
        mixed = train != "train"
        lm: dict[str, Any] = {"texts": [str(self._write_texts(cell, mixed))]}
        if mixed:
            lm["transcripts"] = False
        return Training(
            self.output / cell.name,
            str(_HPARAMS / "finetune.yaml"),
            (
                *self.stages[stage],
                self._data(cell, labels, train=train),
                _option("lm", **lm),
                *others,
                *_seed(cell),
                *_from(start),
            ),
            RESULTS,
            (*filter(None, (start,)), *labels),
        )

    def _label(
        self, cell: Cell, teacher: Training, half: int | None = None
    ) -> Training:
        """Plan the labels of the rest of train, or of a half of it.

        A half has an n-gram of its own: of all text but that of the half.
        """
        name, bundle = (
            f"{teacher.folder.name}-labels",
            teacher.folder / "bundle",
        )
        chosen, after = [f"--bundle={bundle}"], [teacher]
        options: dict[str, Any] = {}
        if half is not None:
            options, name = {"half": half}, f"{name}{half}"
            ngram = Ngram(
                self.output / f"{teacher.folder.name}-lm{half}",
                "",
                (
                    str(self._write_texts(cell, True, 1 - half)),
                    f"--tokenizer={bundle}",
                    f"--order={_ORDER}",
                ),
                "lm.ngram",
                (teacher,),
            )
            chosen.append(_option("lm", ngram=str(ngram.folder / ngram.proof)))
            after.append(ngram)
        data = self._data(cell, options=options, train="unlabelled")
        return Training(
            self.output / name,
            str(_HPARAMS / "label.yaml"),
            (*self.stages["label"], data, *chosen),
            LABELS,
            tuple(after),
        )

    def _data(
        self,
        cell: Cell,
        labels: Sequence[Training] = (),
        options: dict[str, Any] | None = None,
        train: str = "train",
    ) -> str:
        chosen = {"language": cell.language, "minutes": cell.minutes}
        if labels:
            chosen["labels"] = [str(x.folder / x.proof) for x in labels]
        chosen |= options or {}
        return _option(
            "data", options=chosen, train=train, workers=self.workers
        )

    def _write_texts(
        self, cell: Cell, labelled: bool, half: int | None = None
    ) -> Path:
        """Write the transcripts of the rest of train, or of a half of it.

        With those that the cell has as labels, where ``labelled``.
        """
        language = prepare(self.data_folder, cell.language)
        texts = {row.id: row.text for row in language["train"]}
        some = prepare(self.data_folder, cell.language, cell.minutes, half=half)
        rows = [*(some["train"] if labelled else ()), *some["unlabelled"]]
        part = "" if half is None else f"-{half}"
        mark = "-all" if labelled else ""
        name = f"{cell.language}-{cell.amount}{mark}{part}.txt"
        path = self.output / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{texts[row.id]}\n" for row in rows]
        path.write_text("".join(lines), encoding="utf-8")
        return path


def _option(key: str, **values: Any) -> str:
    """Write a section as an option of train.py; JSON is YAML, too."""
    return f"--{key}={json.dumps(values, ensure_ascii=False)}"


def _seed(cell: Cell) -> list[str]:
    return [f"--seed={cell.seed}"] if cell.seed != 1 else []


def _from(start: Training | None) -> list[str]:
    return [] if start is None else [f"--init_from={start.folder}"]
