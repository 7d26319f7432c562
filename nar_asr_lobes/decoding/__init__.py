"""From CTC posteriors and the decoder to text: the modes of search.

``greedy`` (best path), ``mask_predict`` (NAR decoder over the greedy result),
``prefix_beam`` (CTC beam with a fused language model), ``rescore`` (N-best
re-scored by the NAR decoder), ``recognizer`` (all of them over one encoder
pass), ``tuning`` (weights from a development set), ``alignment`` (times).
``saved_posteriors`` keeps what a model heard, for searches without it.
``batched_beam`` is ``prefix_beam`` for a batch on a GPU, ``neural_beam`` the
same with a neural language model, ``modes`` the table of all.
"""
