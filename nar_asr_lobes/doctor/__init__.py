"""Checks of a machine before a training: packages, GPUs, disk, limits."""
