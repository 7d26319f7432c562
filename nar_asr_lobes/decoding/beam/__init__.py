"""The CTC prefix beam search, compiled."""
