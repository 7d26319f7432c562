"""The rules of hot words on whole sequences, told again without states."""

from collections import Counter, defaultdict

MAX_CHAIN = 3


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


def naive_gain(tokens, phrases, boundaries, spaces, leading, limit):
    """Count the tokens that occurrences of phrases cover, by the rules."""
    words = split_words(tokens, boundaries, spaces, leading)
    occurrences = []  # first word, word behind the last, phrase
    for i, (begin, _) in enumerate(words):
        for j, (_, end) in enumerate(words[i:], i + 1):
            if tuple(tokens[begin:end]) in phrases:
                occurrences.append((i, j, tuple(tokens[begin:end])))
    gaining, chains = defaultdict(list), {}
    for i, j, phrase in sorted(occurrences):
        before = [o for o in occurrences if o[1] == i]
        chain = 1 + max((chains[o] for o in before), default=0)
        chains[i, j, phrase] = chain
        same = any(o[2] == phrase for o in before)
        if chain <= MAX_CHAIN and not same:
            gaining[j].append((phrase, words[i][0], words[j - 1][1]))
    gained, covered, times = 0, set(), Counter()
    for _, found in sorted(gaining.items()):
        tokens = {t for _, begin, end in found for t in range(begin, end)}
        new = tokens - covered
        covered |= tokens
        if new:
            longest = max(found, key=lambda o: o[2] - o[1])[0]
            times[longest] += 1
            gained += len(new) * (times[longest] <= limit)
    return gained
