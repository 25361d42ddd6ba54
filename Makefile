# Every target sets up what it needs: nothing but make and a Python from 3.11 to 3.13 is asked for.
PYTHON ?= python3
PY = .venv/bin/python
export TF_CPP_MIN_LOG_LEVEL = 3

.PHONY: book test pdf sync repository lock weights picture bench test-oldest test-colab test-backends mutation links audit reproducible
.PHONY: release clean bootstrap

book: bootstrap
	@$(PY) tools/build.py

test: bootstrap
	@$(PY) tools/check.py

# The library's tests and two chapters with the oldest versions that pyproject.toml admits, and with Colab's.
test-oldest test-colab: bootstrap
	@$(PY) tools/environments.py $(@:test-%=%)

# All unit tests with Keras on JAX and on PyTorch; make test runs a tenth of them.
test-backends: bootstrap
	@$(PY) tools/backends.py --all

# Small faults in the core modules, one at a time: how many do their tests notice?
mutation: bootstrap
	@$(PY) tools/mutation.py

# The whole book as one PDF, offered on every page.
pdf: book
	@$(PY) tools/pdf.py

# What runs every week: addresses outside the book, known vulnerabilities, two builds compared byte by byte.
links audit reproducible: bootstrap
	@$(PY) tools/$@.py

sync: bootstrap
	@$(PY) tools/notebooks.py sync

# make repository URL=https://github.com/ACCOUNT/REPOSITORY
repository: bootstrap
	@$(PY) tools/notebooks.py repository "$(URL)"

# Pin the newest versions that pyproject.toml admits.
lock: bootstrap
	@$(PY) tools/lock.py

# Train the weights that ship with the library again, on MNIST.
weights: bootstrap
	@$(PY) tools/train_weights.py

# Make the README's picture again, from the built book.
picture: book
	@$(PY) tools/picture.py

# make release VERSION=X.Y.Z: set it everywhere, date the changelog, commit, tag.
release: bootstrap
	@$(PY) tools/release.py "$(VERSION)"

bench: bootstrap
	@$(PY) benchmarks/run.py

clean:
	rm -rf _build build .pytest_cache .mypy_cache .ruff_cache .hypothesis vae_lib.egg-info .coverage* .setup.lock .build.lock

bootstrap:
	@$(PYTHON) tools/bootstrap.py
