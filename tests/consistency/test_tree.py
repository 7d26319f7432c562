"""The tree keeps the rules of the house, and each rule can catch a breach."""

from pathlib import Path

import pytest

from tests.consistency import tree_rules as rules

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_documented():
    package = rules.python_files(ROOT, "nar_asr_lobes", "recipes")
    assert len(package) > 5
    assert list(rules.missing_docstrings(package)) == []


def test_docstrings_name_their_subject():
    assert list(rules.vague_docstrings(ROOT)) == []


def test_files_and_functions_are_short():
    assert list(rules.too_long(ROOT)) == []


def test_no_symbolic_links():
    assert list(rules.symlinks(ROOT)) == []


def test_text_files_are_utf8_everywhere():
    assert list(rules.unnamed_encodings(ROOT)) == []


def test_every_yaml_key_has_a_reader():
    assert list(rules.dead_keys(ROOT)) == []


def test_train_scripts_differ_only_in_their_import():
    assert list(rules.uneven_train_scripts(ROOT)) == []


def test_recipes_have_the_usual_files():
    assert list(rules.bare_recipes(ROOT)) == []


def test_no_path_of_a_machine():
    assert list(rules.machine_paths(ROOT)) == []


def test_tests_mirror_the_package():
    """tests/<sub>/test_x.py needs a nar_asr_lobes/<sub>/ that it tests."""
    apart = {"recipes", "consistency", "benchmarks"}
    packages = {
        path.name
        for path in (ROOT / "nar_asr_lobes").iterdir()
        if path.is_dir()
    }
    folders = {
        path.relative_to(ROOT / "tests").parts[0]
        for path in rules.python_files(ROOT, "tests")
        if path.parent != ROOT / "tests"
    }
    assert folders - apart <= packages


@pytest.fixture
def tree(tmp_path):
    """Return a function that writes a file of a made-up repository."""
    (tmp_path / "recipes").mkdir()

    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def faults(rule, *arguments):
    """The faults found, each without its path."""
    return [fault.split(": ", 1)[1] for fault in rule(*arguments)]


def test_missing_docstrings_are_found_at_every_level(tree):
    text = (
        '"""M."""\n\n\ndef _hidden():\n    pass\n\n\ndef shown():\n    pass\n'
        '\n\nclass Kept:\n    """K."""\n\n    def method(self):\n        pass\n'
    )
    root = tree("nar_asr_lobes/a.py", text)
    tree("nar_asr_lobes/b.py", "x = 1\n")
    paths = rules.python_files(root, "nar_asr_lobes")
    assert faults(rules.missing_docstrings, paths) == [
        "shown has no docstring",
        "method has no docstring",
        "module has no docstring",
    ]


@pytest.mark.parametrize(
    ("path", "lines", "found"),
    [
        ("nar_asr_lobes/a.py", 250, []),
        ("nar_asr_lobes/a.py", 251, ["251 lines of code, at most 250"]),
        ("hparams/a.yaml", 251, ["251 lines of code, at most 250"]),
        ("tests/test_a.py", 251, []),
        ("tests/test_a.py", 501, ["501 lines, at most 500"]),
    ],
)
def test_long_files_are_found(tree, path, lines, found):
    root = tree(path, "x: 1\n" * lines)
    assert faults(rules.too_long, root) == found


def test_comments_and_docstrings_are_no_lines_of_code(tree):
    text = '"""M.\n\nMore.\n"""\n\n\ndef f():\n    """F.\n    """\n'
    root = tree("nar_asr_lobes/a.py", "# x\n" * 300 + text)
    assert faults(rules.too_long, root) == []


@pytest.mark.parametrize(("lines", "count"), [(60, 0), (61, 1)])
def test_long_functions_are_found(tree, lines, count):
    text = (
        'def f():\n    """Say\n\n    more.\n    """\n' + "    x = 1\n" * lines
    )
    assert len(faults(rules.too_long, tree("tests/a.py", text))) == count


def test_symbolic_links_are_found(tree):
    root = tree("docs/a.md", "x")
    (root / "docs" / "b.md").symlink_to("a.md")
    (root / "docs" / "gone.md").symlink_to("nowhere.md")
    assert faults(rules.symlinks, root) == ["is a symbolic link"] * 2


def test_paths_of_a_machine_are_found(tree):
    folder = "/".join(("", "home", "anna", "data"))
    text = f"data: {folder}\nurl: https://a.org{folder}\nx: ~/a\nwork/done\n"
    root = tree("recipes/A/hparams/a.yaml", text)
    tree("results/log.txt", folder)
    assert list(rules.machine_paths(root)) == [
        f"{root}/recipes/A/hparams/a.yaml:1: names a path of a machine"
    ]


def test_unnamed_encodings_are_found(tree):
    root = tree(
        "nar_asr_lobes/a.py",
        "x.read_text()\nx.write_text(y)\nopen(x)\nx.open('w')\n"
        "x.read_text(encoding='utf-8')\nopen(x, 'rb')\nx.open('wb')\n"
        "os.open(x, y)\nwrite_text(x, y)\n",
    )
    found = rules.unnamed_encodings(root)
    assert [int(fault.split(":")[1]) for fault in found] == [1, 2, 3, 4]


def test_dead_keys_are_found(tree):
    root = tree(
        "recipes/A/hparams/a.yaml",
        "lr: 0.1  # an attribute\n"
        "model: !include:other.yaml  # a string\n"
        "  d_model: 4  # a dataclass field\n"
        "  dropout: 0.1  # only a comment mentions it\n"
        "root: out\n"
        "folder: !ref <root>/x\n"
        "layers: !ref <model[heads]>\n"
        "losses:\n"
        "  - heads: 1\n"
        "  - weight: 2  # an argument\n"
        "optimizer: !name:torch.optim.AdamW\n"
        "  betas: [0.9, 0.98]\n",
    )
    tree(
        "nar_asr_lobes/a.py",
        "# dropout\nclass C:\n    d_model: int = 1\n\n\ndef f(weight, h):\n"
        "    'about dropout'\n    return h.lr, h['model'], h.layers\n\n\n"
        "def g(optimizer):\n    pass\n",
    )
    assert faults(rules.dead_keys, root) == [
        "nothing reads the key folder",
        "nothing reads the key losses",
        "nothing reads the key dropout",
    ]


def test_train_scripts_that_differ_are_found(tree):
    script = '"""{0}."""\n\nfrom {1}_prepare import prepare\n\nrun({2})\n'
    for name in ("A", "B"):
        text = script.format(name, name.lower(), "prepare")
        root = tree(f"recipes/{name}/train.py", text)
    assert faults(rules.uneven_train_scripts, root) == []
    tree("recipes/C/train.py", script.format("C", "c", "prepare, 1"))
    tree("recipes/D/train.py", script.format("D", "a", "prepare"))
    tree("recipes/E/train.py", script.format("E\n" * 40, "e", "prepare"))
    found = faults(rules.uneven_train_scripts, root)
    assert [fault.split()[0] for fault in found] == ["differs", "differs", "45"]


def test_recipes_without_their_files_are_found(tree):
    tree("recipes/A/hparams/pretrain.yaml", "a: 1\n")
    root = tree("recipes/A/train.py", "")
    assert faults(rules.bare_recipes, root) == [
        "has no a_prepare.py",
        "has no README.md",
    ]


def test_vague_docstrings_are_found(tree):
    text = '"""The size."""\n\n\ndef f():\n    """What is left."""\n'
    root = tree("nar_asr_lobes/a.py", text)
    assert faults(rules.vague_docstrings, root) == ["What is left."]
