"""Decoding weights from a development set, and its saved posteriors."""
