"""The processes of a run: how they start, watch one another, and stop."""
