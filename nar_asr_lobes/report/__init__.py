"""A report of a training or an evaluation, as one HTML file."""
