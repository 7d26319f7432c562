"""The card of a bundle: what a user should know before trusting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BundleCard:
    """What the README of a bundle says.

    Arguments
    ---------
    title : str
        Name of the model.
    trained_on : str
        Data sets and their hours, in Markdown.
    tested_on : str
        What the results were measured on.
    results : mapping
        For each mode its numbers as ``evaluation.report.to_dict`` gives them;
        the error rates, the utterances scored and "rtf" are shown.
    language_models : sequence of str
        Which ones it has, and for what, a sentence each.
    commands : sequence of str
        What was run to make the model.
    limits : sequence of str
        What the model was not made for or not tested on, a sentence each.

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
        """Lay the card out as Markdown; what is not known is said."""
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
