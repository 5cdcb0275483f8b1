# Two commands do everything on a fresh machine: `make book` and `make test`.
#   make book PROFILE=laptop PAGES="01 02" DEVICE=cuda
PROFILE ?= smoke
PAGES ?=
DEVICE ?= auto
SEED ?= 0
PYTHON ?= python3
VENV ?= .venv
# of the tests, one thread each
WORKERS ?= 2
# anything else for Snakemake, for instance SNAKEMAKE_ARGS="--executor slurm --jobs 8"
SNAKEMAKE_ARGS ?= --cores all

BIN := $(VENV)/bin
STAMP := $(VENV)/.workbook-installed
TEST_STAMP := $(VENV)/.workbook-test-installed
HTML_STAMP := $(VENV)/.workbook-html-installed
# idle threads sleep instead of spinning: on a shared machine spinning costs far more than it saves
export OMP_WAIT_POLICY ?= PASSIVE
# glibc keeps freed memory instead of giving it back after every layer, which costs CPU runs much of their time
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592
export MALLOC_TOP_PAD_ ?= 268435456
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.PHONY: book test lab html lint bench cuda-kernel publish clean

book: $(STAMP)
	@$(BIN)/snakemake $(SNAKEMAKE_ARGS) --nolock --rerun-incomplete --quiet all \
		--config profile=$(PROFILE) device=$(DEVICE) seed=$(SEED) pages="$(PAGES)"
	@cat runs/$(PROFILE)/scoreboard.txt

test: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

# a site of the stored pages, without running them: open runs/html/index.html
html: $(HTML_STAMP)
	@$(BIN)/python -m lib.book html

lint: $(TEST_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(TEST_STAMP)
	$(BIN)/python -m benchmarks --device $(DEVICE)

cuda-kernel: $(STAMP)
	@$(BIN)/python -m lib.book kernel

# put the executed pages of runs/$(PROFILE) in place of the committed ones
publish: $(STAMP)
	@$(BIN)/python -m lib.book publish --profile $(PROFILE) $(PAGES)

clean:
	rm -rf runs figures/smoke .snakemake .pytest_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed, but $(PYTHON) is %d.%d: make PYTHON=python3.12 book" % sys.version_info[:2])'
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV) (torch is several GB; once)"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $(STAMP)

$(HTML_STAMP): $(STAMP)
	@echo "installing what the HTML book needs into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --editable '.[html]'
	@touch $(HTML_STAMP)

$(TEST_STAMP): $(STAMP)
	@echo "installing what the tests need into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $(TEST_STAMP)
