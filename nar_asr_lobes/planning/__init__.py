"""Arithmetic of a pre-training before it runs: time, memory, network, cost."""
