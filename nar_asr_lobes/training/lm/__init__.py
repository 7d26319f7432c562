"""Training of a neural language model."""
