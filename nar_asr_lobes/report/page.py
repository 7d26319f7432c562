"""The page: its template, style and script, and the contents as JSON.

The contents stand in the file as JSON in which no character can end the
element, and the script puts them into the page as text only. The policy in the
file's head allows this script and style, and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template

from nar_asr_lobes.report.contents import EvaluationSet, Report, Row

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("dom", "figures", "curves", "clip", "utterances", "main")
# "<" could begin a tag; the separators end a line in older scripts.
_ESCAPES = {ord(sign): rf"\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def render_page(report: Report) -> str:
    """Write a report as one HTML file without links to others.

    Arguments
    ---------
    report : Report
        Its contents; texts may hold any character.

    Returns
    -------
    str
        The file's text.

    Example
    -------
    >>> page = render_page(Report("</script><b>", "1"))
    >>> "<b>" in page, page.count("</script>")
    (False, 2)
    """
    script = "".join(
        (_PAGE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS
    )
    script = f'"use strict";\n{script}'
    style = (_PAGE / "style.css").read_text(encoding="utf-8")
    template = (_PAGE / "template.html").read_text(encoding="utf-8")
    contents = json.dumps(
        report, default=_to_json, ensure_ascii=False, separators=(",", ":")
    )
    return Template(template).substitute(
        title=html.escape(f"Report of {report.source}"),
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
        contents=contents.translate(_ESCAPES),
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _to_json(part: object) -> dict:
    """Give the fields of a part of the report, as the page names them."""
    if isinstance(part, EvaluationSet):
        return vars(part) | {"best": part.best}
    if not isinstance(part, Row):
        return vars(part)
    utterance = part.utterance
    return {
        "id": part.id,
        "seconds": utterance and (utterance.duration or None),
        "speaker": utterance and utterance.speaker,
        "clip": part.clip,
    }
