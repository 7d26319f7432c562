"""The index of a large data set: written once, opened at once by every run."""
