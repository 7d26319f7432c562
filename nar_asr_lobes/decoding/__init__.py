"""From an encoded batch to text: the modes of search.

``modes`` is the table of all, ``recognizer`` runs them over one encoder pass.
Greedy search, mask-predict, beam search (``beam``) and N-best re-scoring have
a file each; ``alignment`` gives words their times, ``tuning`` finds weights.
"""
