"""Corpora and transcripts of others: tables, Kaldi, lhotse, TextGrid, ELAN."""
