"""The command ``nar-asr``: ``main`` and one module for each sub-command."""
