"""The files of a bundle: written whole or not at all, checked, described.

files -> flushed -> SHA-256 of each in bundle.json -> renamed into place
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_folder, sha256

FORMAT = "nar-asr-bundle"
_INDEX = "bundle.json"
REMEDY = "copy or download the bundle again"


@dataclass(frozen=True)
class BundleCard:
    """The README of a bundle: facts to know before trusting a model.

    Arguments
    ---------
    title : str
        Name of the model.
    trained_on : str
        Data sets and their hours, in Markdown.
    tested_on : str
        The test sets of the results.
    results : mapping
        For each mode its numbers as ``evaluation.report.to_dict`` gives them;
        the error rates, the utterances scored and "rtf" are shown.
    language_models : sequence of str
        Those it has and their use, a sentence each.
    commands : sequence of str
        Commands that made the model.
    limits : sequence of str
        Uses it was not made or tested for, a sentence each.

    Example
    -------
    >>> card = BundleCard("Demo", trained_on="1 h of synthetic speech")
    >>> card.markdown().splitlines()[0]
    '# Demo'
    """

    title: str
    trained_on: str = ""
    tested_on: str = ""
    results: Mapping[str, Mapping[str, float | str]] = field(
        default_factory=dict
    )
    language_models: Sequence[str] = ()
    commands: Sequence[str] = ()
    limits: Sequence[str] = ()

    def markdown(self) -> str:
        """Write the README; unknown facts are named as not stated."""
        results = _table(self.results) if self.results else "Not measured."
        if self.tested_on:
            results = f"On {self.tested_on}:\n\n{results}"
        parts = [
            f"# {self.title}",
            "## Use",
            _code(["nar-asr transcribe FILE... --bundle THIS_FOLDER"]),
            "## Trained on",
            self.trained_on or "Not stated.",
            "## Language models",
            _list(self.language_models) or "None.",
            "## Results",
            results,
            "## Made with",
            _code(self.commands) if self.commands else "Not stated.",
            "## Limits",
            _list(self.limits) or "Not stated.",
        ]
        return "\n\n".join(parts) + "\n"


@contextmanager
def sealed_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``folder`` at the end.

    An older bundle there is replaced, and stays after an error; ``UserError``
    if ``folder`` holds anything else or cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    _refuse_other_folder(folder)
    with atomic_folder(folder) as temporary:
        yield temporary
        _write_index(temporary)


def verified_files(folder: Path) -> set[str]:
    """Compare the files in the index with their SHA-256; give their names.

    Files that the index does not list are ignored. ``UserError`` if there is
    no index, or a file is missing or damaged.
    """
    if not os.path.isfile(folder / _INDEX):
        raise UserError(
            f"{folder}: is not a bundle ({_INDEX} is missing); name the folder "
            "that a fine-tuning wrote"
        )
    hashes = _read_index(folder / _INDEX)
    for name, digest in hashes.items():
        fault = _fault(folder, name, digest)
        if fault:
            raise UserError(f"{folder / name}: {fault}; {REMEDY}")
    return set(hashes)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8 with the same line ends on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def _refuse_other_folder(folder: Path) -> None:
    if folder.is_dir():
        foreign = any(folder.iterdir()) and not (folder / _INDEX).is_file()
    else:
        foreign = folder.exists()
    if foreign:
        raise UserError(
            f"{folder}: exists and is not a bundle, so it is not replaced; "
            "name another folder"
        )


def _write_index(folder: Path) -> None:
    hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    index = {"format": FORMAT, "sha256": hashes}
    write_text(folder / _INDEX, json.dumps(index, indent=1) + "\n")


def _fault(folder: Path, name: str, digest: str) -> str | None:
    path = folder / name
    # A path that leads elsewhere is no file of this folder.
    if Path(name).name != name or not path.is_file():
        return "is missing"
    try:
        if sha256(path) != digest:
            return f"is damaged (its SHA-256 is not the one in {_INDEX})"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _read_index(path: Path) -> Mapping[str, str]:
    try:
        index = json.loads(path.read_text(encoding="utf-8-sig"))
        if index["format"] != FORMAT:
            raise ValueError("of another format")
        return dict(index["sha256"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise UserError(f"{path}: is damaged; {REMEDY}") from error


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _code(commands: Sequence[str]) -> str:
    return "\n".join(["```bash", *commands, "```"])


def _table(results: Mapping[str, Mapping[str, float | str]]) -> str:
    rates = ["wer", "cer"]
    if any(numbers["headline"] == "cer" for numbers in results.values()):
        rates.reverse()
    names = " | ".join(f"{rate.upper()} %" for rate in rates)
    rows = [
        f"| mode | {names} | utterances scored | real-time factor |",
        "|---|---|---|---|---|",
    ]
    for mode, numbers in results.items():
        shown = " | ".join(f"{100 * numbers[rate]:.2f}" for rate in rates)
        scored = f"{numbers['utterances']} of {numbers['utterances_in_all']}"
        rows.append(f"| {mode} | {shown} | {scored} | {numbers['rtf']:.3f} |")
    return "\n".join(rows)
