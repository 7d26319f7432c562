"""Corpora that others describe: tables, Kaldi, lhotse, TextGrid."""
