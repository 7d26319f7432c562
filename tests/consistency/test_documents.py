"""The documents name commands, keys, files and headings that are there."""

import re
import shlex
from pathlib import Path

import pytest

from nar_asr_lobes.cli.main import _parse
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.training.hparams import load_run, parse_arguments

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "recipes/*/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
RECORDS = ("results.md", "experiments.md")  # commands of earlier versions
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")


def commands():
    """Give page and words of each command line, as a shell splits it."""
    for page in [*PAGES, *ROOT.glob("recipes/*/hparams/*.yaml")]:
        if page.name in RECORDS:
            continue
        text = page.read_text()
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        if page.suffix == ".yaml":  # those of the comments at its head
            text = re.sub("^# ?", "", text, flags=re.MULTILINE)
            text = text.replace("\\\n", " ")
            blocks = re.findall("^(?:python|torchrun) .*\n", text, re.MULTILINE)
        for line in "".join(blocks).replace("\\\n", " ").splitlines():
            yield page, shlex.split(line, comments=True)


def recipe_of(page, words):
    """Give the folder in which a page's command is run."""
    [yaml] = [word for word in words if word.startswith("hparams/")]
    for folder in page.parents:
        if folder.parent.name == "recipes" and (folder / yaml).is_file():
            return folder
    names = ("ArabicCommands", "LowResource")
    others = [ROOT / "recipes" / name for name in names]
    return next((x for x in others if (x / yaml).is_file()), others[0])


def test_trainings_have_the_keys_of_the_documents(monkeypatch):
    found = [x for x in commands() if "train.py" in x[1]]
    found = [x for x in found if any("hparams/" in word for word in x[1])]
    assert len(found) > 35
    for page, words in found:
        monkeypatch.chdir(recipe_of(page, words))
        arguments = words[words.index("train.py") + 1 :]
        arguments = [x for x in arguments if x[0] not in "$…"]
        path, _, overrides = parse_arguments([*arguments, "--device=cpu"])
        if "data_folder" not in overrides and "LM" not in str(page):
            overrides += "\ndata_folder: data"  # in a variable of the shell
        config = load_run(path, overrides)
        DecodingOptions.from_dict(getattr(config, "decoding", {}))


def test_commands_have_the_arguments_of_the_documents():
    found = [x[1:] for _, x in commands() if x and "nar-asr" in x[0]]
    assert len(found) >= 8
    for arguments in found:
        assert _parse(arguments).run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link, heading in LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if heading:
            assert re.sub(r"\s+", "", heading) in headings(target), heading


def headings(page):
    """Give the anchors that GitHub makes of a page's headings."""
    lines = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    lines = [re.sub(r"[^\w\- ]", "", line.lower()) for line in lines]
    return {line.replace(" ", "-") for line in lines}
