"""The rules of hot words on whole sequences, told again without states."""

from collections import Counter


def split_words(tokens, boundaries, spaces, leading):
    """Begin and end of each word; a space alone is none."""
    words, begin = [], None
    for i, token in enumerate(tokens):
        if i == 0 or token in boundaries:
            if begin is not None:
                words.append((begin, i))
            begin = i if leading or token not in spaces else i + 1
    if begin is not None:
        words.append((begin, len(tokens)))
    empty = [[], *([space] for space in spaces)]
    return [(a, b) for a, b in words if list(tokens[a:b]) not in empty]


def naive_gain(tokens, phrases, boundaries, spaces, leading, limit, ended=True):
    """Count the tokens that occurrences of phrases cover, by the rules.

    Of a sentence that has not ended, tokens that begin a phrase count too,
    unless it has gained too often.
    """
    words = split_words(tokens, boundaries, spaces, leading)
    gained, covered, times = 0, set(), Counter()
    for last, (_, end) in enumerate(words):
        if end == len(tokens) and not ended:
            break
        for begin, _ in words[: last + 1]:
            phrase = tuple(tokens[begin:end])
            if phrase in phrases:  # the longest that ends here
                new = {*range(begin, end)} - covered
                covered |= new
                times[phrase] += len(new) > 0
                gained += len(new) * (times[phrase] <= limit)
                break
    for begin, _ in words if not ended else []:
        begun = tuple(tokens[begin:])
        if any(
            phrase[: len(begun)] == begun and times[phrase] < limit
            for phrase in phrases
        ):
            return gained + len({*range(begin, len(tokens))} - covered)
    return gained
