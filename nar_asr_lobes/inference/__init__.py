"""From a trained model to the text of a user's own audio.

``bundle`` and ``bundle_files`` (a self-contained folder), ``sources`` (files,
pipes, arrays), ``transcriber`` (audio to text), ``formats`` (txt, json, srt),
``speechbrain`` (a bundle as a ``Pretrained`` model).
"""
