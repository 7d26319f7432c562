"""The optimiser of trainings from random weights, and the learning rates."""
