# make demo   the whole path on a corpus it makes itself (23 minutes on 2 busy cores)
# make test   style, tests and doctests, on two processes (8 minutes)
# Both first install their requirements into .venv; a second call does not.
# Another Python than python3: make demo PYTHON=python3.12

.PHONY: demo test
INSTALL = PYTHON="$(PYTHON)" sh .ci/install
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

demo:
	@$(INSTALL) demo
	@.venv/bin/python recipes/Synthetic/demo.py

test:
	@$(INSTALL) test
	.venv/bin/ruff check .
	$(ONE_THREAD) .venv/bin/python -m pytest -n 2 --dist loadfile
