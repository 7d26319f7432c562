"""The data of a run: prepared, indexed, tokenised, loaded."""
