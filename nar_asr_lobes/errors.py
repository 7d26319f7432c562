"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A mistake in what the user gave: a file, manifest, option or checkpoint.

    The message is one sentence: what is wrong, where (file, line, id), the
    limit, and the remedy. Entry points print it and exit with status 2, so a
    user never sees a stack trace for a mistake of their own.

    Example
    -------
    >>> raise UserError("a.wav: holds no samples; remove it from the manifest")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: a.wav: holds no samples; remove it from \
the manifest
    """
