"""The page as text: whole, and without anything from elsewhere."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nar_asr_lobes.report.clips import add_clips
from nar_asr_lobes.report.page import render_page
from nar_asr_lobes.report.read import read_report
from tests.report.output_folders import TEXTS

ROOT = Path(__file__).parents[2]


class Elements(HTMLParser):
    """Collects elements with their attributes and texts."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data


@pytest.fixture
def page(run_folder):
    report = read_report(run_folder)
    add_clips(report.sets, 1)
    return render_page(report)


def test_texts_stand_in_one_element_and_come_out_as_they_were(page):
    elements = Elements(page).found
    assert [tag for tag, *_ in elements] == [
        *("html", "head", "meta", "meta", "meta", "meta", "title", "style"),
        *("body", "main", "noscript", "script", "script"),
    ]
    contents = elements[-2][2]
    assert not re.search("[<>&\u2028\u2029]", contents)
    rows = json.loads(contents)["sets"][0]["rows"]
    assert [row["id"] for row in rows] == [row[0] for row in TEXTS]


def test_nothing_is_loaded_from_elsewhere(page):
    addresses = re.findall(r"https?://[^\"\s]*", page)
    assert addresses == ["http://www.w3.org/2000/svg"]
    [policy] = [
        attributes["content"]
        for tag, attributes, _ in Elements(page).found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_the_scripts_never_parse_texts():
    for path in (ROOT / "nar_asr_lobes" / "report" / "page").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        unsafe = "innerHTML|outerHTML|insertAdjacent|document.write|eval|srcdoc"
        assert not re.search(unsafe, text), path
        assert "</script" not in text
        code = [x for x in text.splitlines() if x and not x.startswith("//")]
        assert len(code) <= 250, path


def test_an_installation_has_the_page(tmp_path):
    build = ["setup.py", "-q", "build_py", f"--build-lib={tmp_path}"]
    egg = ["egg_info", f"--egg-base={tmp_path}"]
    subprocess.run(
        [sys.executable, build[0], *egg, *build[1:]], cwd=ROOT, check=True
    )
    folder = Path("nar_asr_lobes", "report", "page")
    names = {path.name for path in (ROOT / folder).iterdir()}
    assert {path.name for path in (tmp_path / folder).iterdir()} == names
    assert "main.js" in names
