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


def describe_os_error(error: OSError) -> str:
    """Say in a sentence what a file or folder refused.

    Example
    -------
    >>> describe_os_error(FileNotFoundError(2, "No such file", "a.tsv"))
    'a.tsv: No such file; check the path and its permissions'
    """
    place = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or error
    return f"{place}{reason}; check the path and its permissions"
