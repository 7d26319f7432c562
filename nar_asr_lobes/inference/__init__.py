"""From a trained model to text of a user's own files.

``bundle`` (a self-contained folder), ``card`` (its README), ``chunking`` (long
audio in pieces), ``transcriber`` (files to text), ``formats`` (txt, json, srt).
"""
