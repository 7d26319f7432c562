"""Non-autoregressive speech recognition for settings with little data."""

__version__ = "0.1.0"
