"""Arithmetic of a pre-training before it is run: time, memory, network, cost."""
