"""ARPA files as dictionaries, and the back-off rule spelled out over them."""

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parent / "reference"


class Arpa(dict):
    """{words: (log10 probability, log10 back-off or None)}."""

    def predict(self, context, word):
        """Return log10 P(word | context) by the textbook rule."""
        gram = (*context, word)
        if gram in self:
            return self[gram][0]
        if not context:
            return self[("<unk>",)][0]
        backoff = self.get(tuple(context), (0, None))[1] or 0.0
        return backoff + self.predict(context[1:], word)

    def sentence(self, words, order):
        """Return log10 P(words, </s>)."""
        history, total = ["<s>"], 0.0
        for word in [*words, "</s>"]:
            start = max(0, len(history) - order + 1)
            total += self.predict(tuple(history[start:]), word)
            history.append(word)
        return total


def _read_arpa(path):
    grams = Arpa()
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        fields = line.split("\t")
        if len(fields) > 1:
            backoff = float(fields[2]) if len(fields) > 2 else None
            gram = tuple(fields[1].split(" "))
            assert gram not in grams, f"{gram} stands twice"
            grams[gram] = float(fields[0]), backoff
    return grams


@pytest.fixture(scope="session")
def read_arpa():
    """Return the function that reads an ARPA file."""
    return _read_arpa


@pytest.fixture
def reference_text():
    """Return the function that reads a reference text, a list of lines."""

    def read(name):
        path = REFERENCE / f"{name}.txt"
        return path.read_text(encoding="utf-8").splitlines()

    return read


@pytest.fixture
def reference_arpa():
    """Return the function that reads what lmplz made of a text.

    Its "-inf" is -99 here, the format's sign for log 0.
    """

    def read(name):
        grams = _read_arpa(REFERENCE / f"{name}.arpa")
        for gram, (prob, backoff) in grams.items():
            if backoff == float("-inf"):
                grams[gram] = prob, -99.0
        return grams

    return read


@pytest.fixture
def assert_equal():
    """Return the check that two models have equal n-grams and numbers."""

    def check(found, wanted, tolerance=1e-4):
        assert found.keys() == wanted.keys()
        for gram, (prob, backoff) in wanted.items():
            assert found[gram][0] == pytest.approx(prob, abs=tolerance)
            assert (found[gram][1] is None) == (backoff is None), gram
            if backoff is not None:
                limit = pytest.approx(backoff, abs=tolerance)
                assert found[gram][1] == limit

    return check


@pytest.fixture
def full_disk():
    """Return the context in which files of over a kilobyte are refused."""

    @contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
