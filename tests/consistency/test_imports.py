"""Folders import downwards only, and no files import each other."""

import re
from pathlib import Path

import pytest

from tests.consistency import import_rules as rules

ROOT = Path(__file__).parents[2]


def test_no_folder_imports_a_higher_one():
    assert list(rules.upward_imports(ROOT)) == []


def test_the_levels_are_those_of_the_architecture_page():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \| .* \| (\d+) \|$", page, re.MULTILINE)
    levels = [set() for _ in rules.LEVELS]
    for names, level in rows:
        levels[int(level) - 1] |= set(re.findall(r"`(\w+)/?`", names))
    assert levels == [set(row) for row in rules.LEVELS]


def test_no_files_import_each_other():
    assert list(rules.import_circles(ROOT)) == []


@pytest.fixture
def package(tmp_path):
    """Return a function that writes modules and gives their root."""

    def write(**modules):
        for name, text in modules.items():
            path = tmp_path / "nar_asr_lobes" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("importing", "text", "faults"),
    [
        ("dataio__a", "from nar_asr_lobes.training.run import main", 1),
        ("dataio__a", "def f():\n    import nar_asr_lobes.training.run", 1),
        ("inference__a", "from nar_asr_lobes.objectives import b", 1),
        ("training__a", "from nar_asr_lobes.dataio.b import c", 0),
        ("dataio__a", "from nar_asr_lobes.dataio.b import c", 0),
        ("dataio__a", "from nar_asr_lobes.unheard_of import c", 1),
        ("dataio__a", "import torch.training.run", 0),
    ],
)
def test_an_upward_import_is_found(package, importing, text, faults):
    root = package(**{importing: text})
    assert len(list(rules.upward_imports(root))) == faults


def test_a_circle_is_found(package):
    root = package(
        dataio__a="from nar_asr_lobes.dataio.b import x",
        dataio__b="from nar_asr_lobes.dataio import c",
        dataio__c="import nar_asr_lobes.dataio.a",
        dataio__d="x = 1",
    )
    [a, b, c] = rules.import_circles(root)
    assert "b" in a and "c" in b and "a" in c
    late = "def f():\n    import nar_asr_lobes.dataio.a"
    assert list(rules.import_circles(package(dataio__c=late))) == []
