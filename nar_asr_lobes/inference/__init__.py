"""From a trained model to the text of a user's own audio.

``bundle`` and ``bundle_files`` (a self-contained folder), ``sources`` (files,
pipes, arrays), ``transcriber`` (audio to text), ``formats`` (of transcripts),
``segmenter`` (a recording and its text to utterances), ``speechbrain`` (a
bundle as a ``Pretrained`` model).
"""
