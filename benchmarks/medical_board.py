"""The figures of a public medical leader board, made again from its texts.

python benchmarks/medical_board.py FOLDER --output=board.md

FOLDER holds references/, hypotheses/SYSTEM/, terms.tsv, canonical.tsv and
published.json (docs/evaluation.md says where they are from). Prints and writes
a Markdown table with our figures beside the published ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from nar_asr_lobes.evaluation.normalizers import get_normalizer
from nar_asr_lobes.evaluation.scoring import score_texts, summarize
from nar_asr_lobes.evaluation.terms import read_terms
from nar_asr_lobes.evaluation.texts import read_paired
from nar_asr_lobes.storage import write_text


def reproduce(folder: Path) -> dict[str, dict]:
    """Score every system of the board.

    Returns
    -------
    dict
        By system "ours" and "published", each with WER, M-WER and drug M-WER
        in percent, and "figures" with all of ``summarize``.
    """
    published = json.loads(
        (folder / "published.json").read_text(encoding="utf-8")
    )
    normalize = get_normalizer("conversation").apply
    terms = read_terms(
        folder / "terms.tsv", folder / "canonical.tsv", normalize
    )
    folders = [folder / "hypotheses" / name for name in published]
    paired = read_paired(folder / "references", *folders)
    references = list(paired.references.texts.values())
    found = {}
    for (name, figures), hypotheses in zip(
        published.items(), paired.hypotheses, strict=True
    ):
        scores = score_texts(references, hypotheses, normalize, terms)
        ours = summarize(scores)
        rates = (
            ours["mean_wer"],
            ours["terms"]["all"]["m_wer"],
            ours["terms"]["drugs"]["m_wer"],
        )
        theirs = (
            figures["avg_wer"],
            figures["global_m_wer"],
            figures["global_high_risk_m_wer"],
        )
        found[name] = {
            "ours": [100 * rate for rate in rates],
            "published": [100 * rate for rate in theirs],
            "figures": ours,
        }
    return found


def format_board(found: dict[str, dict]) -> str:
    """Lay the systems out as a Markdown table, the best M-WER first."""
    lines = [
        "| system | WER % | published | M-WER % (95 %) | published "
        "| drug M-WER % (95 %) | published | inserted terms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(found.items(), key=lambda item: item[1]["ours"][1]):
        terms = row["figures"]["terms"]
        spans = [
            "{:.1f} to {:.1f}".format(
                *(100 * end for end in terms[category]["m_wer_interval"])
            )
            for category in ("all", "drugs")
        ]
        wer, m_wer, drugs = (f"{rate:.2f}" for rate in row["ours"])
        theirs = [f"{rate:.2f}" for rate in row["published"]]
        cells = (
            *(name, wer, theirs[0]),
            *(f"{m_wer} ({spans[0]})", theirs[1]),
            *(f"{drugs} ({spans[1]})", theirs[2]),
            str(terms["all"]["insertions"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    table = format_board(reproduce(options.folder))
    print(table, end="")
    if options.output:
        write_text(options.output, table)


if __name__ == "__main__":
    main()
