"""ARPA files for tests."""

from nar_asr_lobes.lm.ngram.arpa import write_arpa


def save(path, model, words):
    """Write a model into a file."""
    with open(path, "wb") as file:
        write_arpa(file, model, words)
