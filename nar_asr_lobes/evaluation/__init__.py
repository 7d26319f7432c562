"""How good the transcripts are: error counts, alignments and a table."""
