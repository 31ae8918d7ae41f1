# isles: `make run` shows it at work, `make test` proves it. `make help` lists the rest.
#
#   PYTHON=/path/to/python   the Python to use; otherwise the newest usable one that is found
#   ARGS='...'               more arguments for the demo, pytest or the benchmark
#
# Everything that is made lies in build/, in a folder for each Python.

BUILD  := build
PY     := $(shell PYTHON='$(PYTHON)' scripts/find-python 2>/dev/null)
TAG    := $(if $(PY),$(shell $(PY) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3] + sys.abiflags)'))
OUT    := $(abspath $(BUILD))/$(TAG)
VENV   := $(OUT)/venv
python := $(VENV)/bin/python
tools  := PATH="$(VENV)/bin:$$PATH"
meson  := $(tools) meson

# In CI a warning of the compiler's is an error; debug builds of Python get isles' own assertions.
WERROR  := $(if $(CI),true,false)
NDEBUG  := $(if $(findstring d,$(TAG)),false,true)
pip     := $(tools) python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps
setup   := -Csetup-args=-Dwerror=$(WERROR) -Csetup-args=-Db_ndebug

# Folders are listed too: their time changes when a file goes.
SOURCES := meson.build meson.options pyproject.toml \
           $(shell find core binding isles -name __pycache__ -prune -o -print)

help:
	@echo "make run      build isles and run the demo: Python's standard library, measured on all cores"
	@echo "make test     build isles and run all tests"
	@echo "make matrix   run the tests on CPython 3.13, 3.14 and 3.15 (VERSIONS='3.15 3.14-dbg'; as root)"
	@echo "make conformance  run CPython's own tests of concurrent.interpreters with isles (in the matrix's 3.15)"
	@echo "make numpy-suite  run NumPy's own tests in isolated interpreters (in the matrix's 3.14 and 3.15)"
	@echo "make compatibility  check the packages of docs/packages.txt on all three, and write docs/compatibility.md"
	@echo "make asan     run the tests under AddressSanitizer and UBSan (ARGS='-k gate')"
	@echo "make tsan     run core's tests under ThreadSanitizer"
	@echo "make coverage show which lines of C and of Python the tests reach"
	@echo "make fuzz     feed the decoders arbitrary bytes for a minute (TIME=600: seconds; needs clang)"
	@echo "make bench    compare isles with the standard library, threads and processes"
	@echo "make bench-full  also measure how cost grows, keep the figures and draw them (make chart: only draw)"
	@echo "make lint     check style, types and the layers (make format: mend the style)"
	@echo "make docs     build the documentation into build/docs"
	@echo "make clean    remove build/"

run: $(OUT)/installed
	$(python) -P -m isles demo $(ARGS)

test: test-core test-python

bench: $(OUT)/installed $(OUT)/bench-tools
	$(python) bench/run.py --json $(OUT)/bench.json $(ARGS)

# Its figures are kept: bench/results/.
bench-full: $(OUT)/installed $(OUT)/bench-tools
	$(python) bench/run.py --full $(ARGS)
	$(MAKE) chart

chart: $(OUT)/bench-tools
	$(python) bench/chart.py
	$(python) bench/page.py

# --- build ---

need-python:
	@PYTHON='$(PYTHON)' scripts/find-python >/dev/null

$(OUT)/tools: pyproject.toml scripts/venv scripts/requirements | need-python
	scripts/venv $(PY) $(VENV) cli test
	@touch $@

$(OUT)/installed: $(OUT)/tools $(SOURCES)
	$(pip) --force-reinstall -Cbuild-dir=$(OUT)/meson $(setup)=$(NDEBUG) .
	@touch $@

# --- test ---

# Away from the source tree's isles/, which lacks the C module, and with -P: tests see what is installed.
pytest = cd tests && $(1) $(python) -P -m pytest python stress $(2) $(ARGS)

test-python: $(OUT)/installed
	$(call pytest)

# Core needs no Python: one build for all, and one for each sanitizer; under TSan with random yields.  There warnings stay warnings: gcc gives
# false ones for instrumented code.
core = $(meson) setup --reconfigure $(abspath $(BUILD))/$(1) . -Dextension=false -Dcore_tests=true \
           -Dwerror=$(WERROR) -Db_ndebug=false $(2) >$(BUILD)/$(1).log || { cat $(BUILD)/$(1).log; exit 1; }; \
       $(meson) test -C $(abspath $(BUILD))/$(1) --print-errorlogs

test-core: $(OUT)/tools
	@$(call core,core)

tsan: $(OUT)/tools
	@$(call core,core-tsan,-Db_sanitize=thread -Dwerror=false -Dyields=true)

asan: asan-core asan-python

asan-core: $(OUT)/tools
	@$(call core,core-asan,-Db_sanitize=address$(comma)undefined -Dwerror=false)

# The extension with sanitizers goes to a folder of its own, which PYTHONPATH puts before the plain one.
# --capture=sys: what the sanitizers write is seen.
asan-python: $(OUT)/asan/installed
	$(call pytest,ulimit -s 32768 && env $(asan_env),--capture=sys -m 'not slow')

$(OUT)/asan/installed: $(OUT)/tools $(SOURCES)
	rm -rf $(OUT)/asan/site
	$(pip) --target $(OUT)/asan/site -Cbuild-dir=$(OUT)/asan/meson $(setup)=false \
	    -Csetup-args=-Dbuildtype=debugoptimized -Csetup-args=-Db_sanitize=address,undefined \
	    -Csetup-args=-Db_lundef=false -Csetup-args=-Dwerror=false .
	@touch $@

# CPython itself keeps memory until it exits: no leak detection there.  Its limit of recursion knows nothing of the
# larger frames: a larger stack.
asan_env = LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
           ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
           PYTHONMALLOC=malloc PYTHONPATH=$(OUT)/asan/site
comma := ,

# Which lines the tests of core/ and those of the package reach, in C and in Python; built without optimization, since
# an inlined line has no count.  What a process leaves by os._exit or a signal, or runs in an isolated interpreter as
# Python, is not counted.
coverage: coverage-run
	cd $(OUT)/coverage && $(python) -P -m coverage combine --quiet --data-file=python data
	cd $(OUT)/coverage && $(python) -P -m coverage report --rcfile=$(CURDIR)/pyproject.toml --data-file=python
	$(VENV)/bin/gcovr --root . --filter core/ --filter binding/ --txt --txt-summary --sort uncovered-percent \
	    --gcov-ignore-parse-errors=negative_hits.warn_once_per_file --fail-under-line 90 \
	    --html-details $(OUT)/coverage/c.html $(BUILD)/core-coverage $(OUT)/coverage/meson

coverage-run: $(OUT)/coverage/installed
	find $(BUILD)/core-coverage $(OUT)/coverage/meson -name '*.gcda' -delete 2>/dev/null || true
	rm -rf $(OUT)/coverage/data && mkdir -p $(OUT)/coverage/data
	@$(call core,core-coverage,-Db_coverage=true -Dbuildtype=debug -Dc_args=-fprofile-update=atomic)
	-$(call pytest,env $(coverage_env),-m 'not slow') # coverage is in the way of a few

$(OUT)/coverage/installed: $(OUT)/tools $(OUT)/coverage-tools $(SOURCES)
	rm -rf $(OUT)/coverage/site
	$(pip) --target $(OUT)/coverage/site -Cbuild-dir=$(OUT)/coverage/meson $(setup)=false \
	    -Csetup-args=-Dbuildtype=debug -Csetup-args=-Db_coverage=true -Csetup-args=-Dc_args=-fprofile-update=atomic .
	@touch $@

# sitecustomize.py starts the measurement, in processes that tests start too.
coverage_env = PYTHONPATH=$(OUT)/coverage/site:$(CURDIR)/tests/coverage ISLES_COVERAGE=$(CURDIR)/pyproject.toml \
               COVERAGE_FILE=$(OUT)/coverage/data/python

# libFuzzer.  The decoder has a Python of its own inside, the reader of shared objects needs none; each gets half of
# the time.  What they find lies in $(FUZZ); a crash goes to the corpus, mended.
TIME := 60
FUZZ := $(OUT)/fuzz
fuzz = mkdir -p $(FUZZ)/found-$(1) && cd $(FUZZ) && $(fuzz_env) ./$(1) -max_total_time=$$(($(TIME) / 2)) \
           -timeout=20 -print_final_stats=1 -verbosity=0 $(2) found-$(1)

fuzz: $(FUZZ)/decode $(FUZZ)/elf
	$(call fuzz,decode,-max_len=4096) $(abspath tests/fuzz/corpus)
	$(call fuzz,elf,-max_len=8192) $(abspath tests/fuzz/elf-corpus)

fuzz-seeds: $(FUZZ)/decode $(FUZZ)/elf
	rm -f tests/fuzz/corpus/seed-* tests/fuzz/elf-corpus/seed-*
	cd tests/fuzz && $(fuzz_env) SEEDS=corpus $(FUZZ)/decode
	cd tests/fuzz && SEEDS=elf-corpus $(FUZZ)/elf

fuzzed = mkdir -p $(FUZZ) && clang -std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Wno-unused-parameter \
             -Wno-missing-field-initializers -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined

$(FUZZ)/decode: tests/fuzz/fuzz_decode.c $(SOURCES) | need-python
	$(fuzzed) $< core/*.c binding/*.c $$($(PY) scripts/embed-flags) -o $@

$(FUZZ)/elf: tests/fuzz/fuzz_elf.c tests/core/elf_image.h $(SOURCES)
	$(fuzzed) -Icore $< core/*.c -pthread -o $@

fuzz_env = PYTHONHOME=$$($(PY) -c 'import sys; print(sys.base_prefix)')

matrix:
	@scripts/matrix $(VERSIONS)

conformance:
	@TARGETS=test-conformance scripts/matrix 3.15

# What `make conformance` runs inside: it needs CPython 3.15 with its tests (test.test_interpreters).
test-conformance: $(OUT)/installed
	cd tests && $(python) -P conformance/run.py $(OUT)/conformance $(TESTS)

# make test-numpy runs them on this machine's Python; ARGS=--slow adds those that NumPy calls slow.
numpy-suite:
	@TARGETS=test-numpy MATRIX_LIMIT=3600 scripts/matrix $(or $(VERSIONS),3.14 3.15)

test-numpy: $(OUT)/installed
	cd tests && $(python) -P numpy/run.py $(OUT)/numpy $(ARGS)

# Which of the packages in docs/packages.txt work, for docs/compatibility.md.  Takes its time: gigabytes of wheels.
VERSIONS_CHECKED := 3.13 3.14 3.15

compatibility: need-python
	@TARGETS=check-packages MATRIX_LIMIT=7200 scripts/matrix $(VERSIONS_CHECKED)
	$(PY) docs/compatibility.py $(foreach v,$(VERSIONS_CHECKED),"$$(scripts/matrix-root)"/isles/$(v)/build/*/packages/packages.json)

# What it runs inside, for one version.
check-packages: $(OUT)/installed
	scripts/check-packages $(python) $(OUT)/packages

# --- style and documentation ---

C_FILES = $(wildcard core/*.[ch] binding/*.[ch] tests/core/*.[ch] tests/core/*/*.c tests/core/*/*/*.c \
                     tests/extensions/*.[ch] tests/extensions/*.cpp tests/memory/*.c tests/fuzz/*.[ch] bench/*.[ch])

lint: $(OUT)/installed $(OUT)/lint-tools
	scripts/check-layers
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES)
	cd $(OUT) && $(python) -P -m mypy --config-file $(CURDIR)/pyproject.toml
	cd $(OUT) && $(python) -P -m mypy.stubtest isles._interpreters

format: $(OUT)/lint-tools
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format
	$(VENV)/bin/clang-format -i $(C_FILES)

docs: $(OUT)/installed $(OUT)/docs-tools
	$(python) -P -m sphinx --fail-on-warning --quiet docs $(BUILD)/docs
	@echo "open $(BUILD)/docs/index.html"

$(OUT)/%-tools: $(OUT)/tools
	scripts/venv $(PY) $(VENV) $*
	@touch $@

clean:
	rm -rf build

.PHONY: help run test coverage coverage-run bench bench-full need-python test-python test-core tsan asan asan-core asan-python fuzz \
        fuzz-seeds matrix conformance test-conformance numpy-suite test-numpy compatibility check-packages \
        chart lint format docs clean
