"""The page in a real browser, in windows of a desk and of a phone."""

import json

import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.evaluation.scoring import score_texts, summarize
from tests.report.chromium import PROGRAM, Chromium
from tests.report.output_folders import TEXTS, write_run

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium (sudo apt install chromium)"
)
IDS = "[...document.querySelectorAll('.utterance h4')].map(e => e.textContent)"
STATUS = "document.querySelector('[role=status]').textContent"
CHOOSE = """(() => {
  const [control] = [...document.querySelectorAll('.controls label, label')]
    .filter(e => e.textContent.startsWith(%s)).map(e => e.querySelector(
      'input, select'));
  control.value = %s;
  control.dispatchEvent(new Event(control.matches('input') ? 'input'
    : 'change'));
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("page") / "run")
    assert main(["report", str(folder), "--audio", "1"]) == 0
    return folder / "report.html"


def choose(browser, label, value):
    """Set a control, found by its label."""
    browser.run(CHOOSE % (json.dumps(label), json.dumps(value)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window(browser, page, width, scheme):
    browser.open(page, width, scheme=scheme)
    assert browser.problems() == []
    # Media controls have pictures of their own, as data.
    addresses = [x for x in browser.requests() if not x.startswith("data:")]
    assert addresses == [page.as_uri()]
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('svg polyline').length") == 2
    colors = browser.run(
        "[document.body, ...document.querySelectorAll('.error')].map(e => "
        "[getComputedStyle(e).color, getComputedStyle(e).backgroundColor])"
    )
    assert len(colors) > 5
    for text, behind in colors:
        assert contrast(rgb(text), rgb(behind)) >= 4.5


def rgb(text):
    return [int(x) / 255 for x in text.removeprefix("rgb(")[:-1].split(",")]


def contrast(one, other):
    """The ratio of the WCAG."""

    def luminance(color):
        linear = [
            x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
            for x in color
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_are_shown_as_they_are_written(browser, page):
    browser.open(page)
    assert browser.run("document.title").startswith("Report of")
    assert set(browser.run(IDS)) == {row[0] for row in TEXTS}
    assert (
        browser.run("document.querySelectorAll('img, main script').length") == 0
    )
    shown = browser.run(
        "[...document.querySelectorAll('.alignment')].map(e => "
        "[...e.querySelectorAll('bdi:not(.said)')].map(x => x.textContent))"
    )
    heard = {" ".join(words) for words in shown}
    assert heard == {" ".join(text.split()) for *_, text in TEXTS}
    directions = browser.run(
        "[...document.querySelectorAll('.alignment')].map(e => e.dir)"
    )
    assert sorted(directions) == ["ltr"] * 4 + ["rtl"]


def test_each_error_has_its_letter(browser, page):
    browser.open(page)
    choose(browser, "Search", "chest")
    marks = browser.run(
        "[...document.querySelectorAll('.alignment .error')].map(e => "
        "[e.querySelector('.said')?.textContent ?? null,"
        " e.querySelector('.heard')?.textContent ?? null,"
        " e.querySelector('b').textContent])"
    )
    assert sorted(marks, key=str) == [
        ["pain", "pan", "S"],
        [None, "today", "I"],
    ]


def test_search_sort_and_filters(browser, page):
    browser.open(page)
    rates = browser.run(
        "[...document.querySelectorAll('.facts')].map(e => e.textContent"
        ".match(/WER ([\\d.]+)/)).filter(e => e).map(e => Number(e[1]))"
    )
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) > 2
    choose(browser, "Sort by", "id")
    assert browser.run(IDS) == sorted(row[0] for row in TEXTS)
    choose(browser, "Search", " PAN ")
    assert browser.run(IDS) == ["u1"]
    choose(browser, "Search", "no such text")
    assert (browser.run(IDS), browser.run(STATUS)) == (
        [],
        "No utterance is like this.",
    )
    choose(browser, "Search", "")
    choose(browser, "Show", "I")
    assert browser.run(IDS) == [TEXTS[1][0], TEXTS[0][0]]
    choose(browser, "Show", "D")
    assert set(browser.run(IDS)) == {TEXTS[3][0], TEXTS[4][0]}
    choose(browser, "Show", "")
    browser.run(
        "[...document.querySelectorAll('.errors button')].filter(e => "
        "e.textContent.includes('constructor'))[0].click()"
    )
    assert browser.run(IDS) == ["__proto__"]
    browser.run("document.querySelector('.chosen button').click()")
    assert len(browser.run(IDS)) == len(TEXTS)


def test_audio_plays_from_a_word(browser, tmp_path):
    folder = write_run(tmp_path / "run", [("a", "no pain", "no pan")])
    assert main(["report", str(folder), "--audio", "1"]) == 0
    browser.open(folder / "report.html")
    ready = "new Promise(r => document.querySelector('audio')"
    browser.run(
        f"{ready}.readyState ? r() : document.querySelector('audio')"
        ".addEventListener('loadedmetadata', r))"
    )
    assert browser.run("document.querySelector('audio').duration") == (
        pytest.approx(1.5, abs=0.1)
    )
    words = browser.run(
        "[...document.querySelectorAll('.word')].map(e => [e.title,"
        " e.className])"
    )
    assert words == [
        ["no 0.00 to 0.10 s", "word "],
        ["pan 0.10 to 0.20 s", "word S"],
    ]
    browser.run("document.querySelectorAll('.word')[1].click()")
    assert browser.run("document.querySelector('audio').currentTime") >= 0.1
    # 1 kHz is the ninth of 64 bands from below, and the darkest
    darkest = browser.run(
        "(() => { const c = document.querySelector('canvas');"
        " const d = c.getContext('2d').getImageData(30, 0, 1, 64).data;"
        " return [...Array(64).keys()].sort((a, b) => d[4*a] - d[4*b])[0] })()"
    )
    assert darkest == 63 - 8


def test_the_keyboard_is_enough(browser, tmp_path):
    texts = [(f"u{n:02}", "a b", "a c") for n in range(30)]
    folder = write_run(tmp_path / "run", texts)
    assert main(["report", str(folder)]) == 0
    browser.open(folder / "report.html")
    assert browser.run(STATUS) == "1 to 25 of 30 utterances"
    for _ in range(60):
        browser.press("Tab", 9)
        if browser.run("document.activeElement.textContent") == "Next →":
            break
    browser.press("Enter", 13)
    assert browser.run(STATUS) == "26 to 30 of 30 utterances"
    assert browser.run(IDS) == [row[0] for row in texts[25:]]
    assert browser.run("document.activeElement.role") == "status"


def test_robustness_is_a_table_with_intervals(browser, tmp_path):
    texts = {"clean": ["a b", "c"], "white-0dB": ["a", ""]}
    rows = {
        name: summarize(score_texts(["a b", "c d"], heard))
        for name, heard in texts.items()
    }
    record = {"headline": "wer", "resampled": "utterance", "conditions": rows}
    (tmp_path / "results.json").write_text(json.dumps(record))
    assert main(["report", str(tmp_path)]) == 0
    browser.open(tmp_path / "report.html", 390)
    assert browser.problems() == []
    cells = browser.run(
        "[...document.querySelectorAll('tbody tr')].map(e => "
        "[e.cells[0].textContent, e.cells[2].textContent])"
    )
    assert cells == [["clean ★", "25.00"], ["white-0dB", "75.00"]]
    assert browser.run("document.querySelectorAll('.whisker').length") == 2
    assert browser.run("document.querySelector('select')") is None


def test_ten_thousand_utterances(browser, tmp_path):
    texts = [
        (f"u{n:05}", "one two three four " * 4, "one too three four " * 4)
        for n in range(10_000)
    ]
    folder = write_run(tmp_path / "run", texts, modes=["beam5"])
    assert main(["report", str(folder)]) == 0
    browser.open(folder / "report.html", 390)
    assert browser.run(STATUS) == "1 to 25 of 10,000 utterances"
    choose(browser, "Search", "u0998")
    assert browser.run(STATUS) == "1 to 10 of 10 utterances"
    assert browser.run("document.querySelectorAll('*').length") < 5000
