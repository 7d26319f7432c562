"""Sums of losses; the trainer divides them by their global counts."""
