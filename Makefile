# The front door. "make help" lists what can be asked for.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 0
FROM := $(origin PYTHON)
# What is given is text: make does not expand it, and the shell gets it as one word.
$(foreach name,ARGS JOBS KEEP NAME ONCE PYTHON RELEASE SHARD SPHINX,$(eval override $(name) := $$(value $(name))))
quote = '$(subst ','\'',$(1))'
VENV := .venv$(if $(SPHINX),-$(SPHINX))
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# pip compiles all modules, one after the other; this leaves out most that nothing imports.
PIP := -m pip install --quiet --disable-pip-version-check
COMPILE := -m compileall -qq -j 0 -x 'transformers.models|torch.testing._internal|[/\\]tests?[/\\]'
INSTALL := $(BIN)/python $(PIP) --no-compile
BUILD := build/html
BUILD_SITE := $(BIN)/python -m sphinx -c . -n -W --keep-going -j auto -d build/doctrees -D recipe_jobs=$(JOBS)
# What went wrong, once more, where it is not lost among all other lines.
REPEAT := { status=$$?; echo; echo 'What went wrong:'; cat build/warnings.txt; exit $$status; } >&2

ifneq ($(shell printf '%s\n' $(call quote,$(JOBS)) | grep -cvE '^[0-9]+$$'),0)
$(error JOBS is "$(JOBS)": give a number of recipes to run side by side, or 0 for all cores)
endif

ifneq ($(filter-out lowest newest,$(SPHINX))$(word 2,$(SPHINX)),)
$(error SPHINX is "$(SPHINX)": lowest, newest, or nothing for the pinned versions)
endif

ifeq ($(FROM) $(wildcard $(VENV)/made),command line $(VENV)/made)
ifneq ($(shell $(call quote,$(PYTHON)) -V 2>&1),$(shell $(BIN)/python -V 2>&1))
$(error $(VENV) has $(shell $(BIN)/python -V), not $(PYTHON): remove $(VENV) first)
endif
endif

ifneq ($(filter new recipe,$(MAKECMDGOALS)),)
ifndef NAME
$(error Give the name of the recipe: make $(firstword $(MAKECMDGOALS)) NAME=plot_exporter_shapes_example)
endif
endif

.PHONY: new recipe lint linkcheck help html zip test transcripts nightly inventories messages bench serve clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1|\2/' \
	  | column -t -s '|'
	@echo
	@echo 'Variables: PYTHON=python3.12 (makes the environment), JOBS=1 (recipes or tests side by side; 0: all cores),'
	@echo 'SPHINX=lowest or newest (of Sphinx, Sphinx-Gallery and furo, in an environment of their own),'
	@echo 'NAME=plot_exporter_... (of a recipe), ONCE=1 (build its page, do not serve it),'
	@echo 'RELEASE=2.9.1 or all, SHARD=2/4 (a quarter of the recipes), KEEP=1 (the environments of releases)'

html: $(VENV)/made ## build the site into build/html, running the recipes that changed
	@$(BUILD_SITE) -w build/warnings.txt _doc $(BUILD) || $(REPEAT)
	@echo "Done: open $(BUILD)/index.html"

zip: html ## pack the site into build/torch-export-cookbook.zip, to be read without a server
	@PYTHONPATH=_doc $(BIN)/python -m _ext.take.offline $(BUILD) build/torch-export-cookbook.zip
	@echo "Done: unpack build/torch-export-cookbook.zip and open index.html in it"

test: $(VENV)/made $(VENV)/optree/made $(VENV)/executorch/made ## run the tests; builds the site first; FAST=1: neither browser nor recipes once more
	@$(BIN)/python -m pytest -n $(if $(filter 0,$(JOBS)),logical,$(JOBS)) $(if $(FAST),-m 'not rerun and not browser')

transcripts: $(VENV)/made ## record what the recipes print, and show what changed; RELEASE=2.9.1 or all: under other releases
ifdef RELEASE
	@PYTHONPATH=_doc $(BIN)/python -m _ext.commands.record --jobs $(JOBS) $(if $(KEEP),--keep) \
	  $(if $(SHARD),--shard=$(call quote,$(SHARD))) -- $(call quote,$(RELEASE))
else
	@$(BUILD_SITE) -w build/warnings.txt -D record_transcripts=1 _doc $(BUILD) || $(REPEAT)
endif

nightly: $(VENV)/made ## report what differs under torch's nightly build, in build/nightly.md
	@PYTHONPATH=_doc $(BIN)/python -m _ext.commands.nightly

inventories: $(VENV)/made ## fetch the addresses of other documentation (needs the network)
	@PYTHONPATH=_doc $(BIN)/python -m _ext.commands.inventories

messages: $(VENV)/made ## read what torch can say from its sources (needs the network); ARGS=--help lists what can be given
	@PYTHONPATH=_doc $(BIN)/python -m _ext.commands.messages $(foreach word,$(ARGS),$(call quote,$(word)))

bench: $(VENV)/made ## measure the build and print a table; ARGS=--help lists what can be left out
	@$(BIN)/python tests/bench.py $(foreach word,$(ARGS),$(call quote,$(word)))

serve: $(VENV)/made ## build, serve and rebuild on every change, in the browser
	@$(BIN)/python -m sphinx_autobuild -c . --watch recipes --watch conf.py \
	  --ignore '*/auto_recipes*' --ignore '*/sg_execution_times*' --ignore '*/__pycache__*' \
	  -d build/doctrees -D recipe_jobs=$(JOBS) --open-browser _doc $(BUILD)

new: $(VENV)/made ## begin a recipe: NAME=plot_exporter_shapes_example
	@PYTHONPATH=_doc $(BIN)/python -m _ext.commands.new -- $(call quote,$(NAME))

recipe: $(VENV)/made ## build, serve and rebuild the page of one recipe: NAME=plot_exporter_shapes_zero_one
	@PYTHONPATH=_doc $(BIN)/python -m _ext.commands.preview $(if $(ONCE),--once) -- $(call quote,$(NAME))

lint: build/lint/made ## check style, spelling, markup, workflows, types and the anatomy of recipes
	@build/lint/bin/ruff check .
	@build/lint/bin/ruff format --check --quiet . || { echo 'Run: build/lint/bin/ruff format .' >&2; exit 1; }
	@build/lint/bin/codespell README.md CONTRIBUTING.md Makefile conf.py recipes tests _doc/*.rst _doc/topics _doc/_ext _doc/_static
	@build/lint/bin/sphinx-lint _doc/*.rst _doc/topics recipes
	@build/lint/bin/zizmor --offline --no-progress --quiet .github
	@if command -v actionlint > /dev/null; then actionlint; else \
	  echo 'The workflows were not checked by actionlint: it is not installed.'; fi
	@if [ -e $(VENV)/made ]; then \
	  build/lint/bin/mypy --python-executable $(BIN)/python; \
	  $(BIN)/python -m pytest -q tests/test_anatomy.py -k 'not test_recorded and not test_running_time'; else \
	  echo 'Types and the anatomy of recipes were not checked: "make html" makes the environment that they need.'; fi

linkcheck: $(VENV)/made ## check the links to other sites (needs the network); report in build/linkcheck
	@$(BIN)/python -m sphinx -c . -b linkcheck -d build/doctrees -D recipe_jobs=$(JOBS) -q _doc build/linkcheck

clean: ## remove all that was generated, with kept environments in build, but not .venv
	rm -rf build _doc/auto_recipes _doc/sg_execution_times.rst

# "venv --clear" empties what a link leads to, which may be the environment of others.
check_link = if [ -L $(1) ]; then echo '$(1) is a link, and what it leads to is not as $< says:' \
	  'remove the link, or bring that environment up to date.' >&2; exit 1; fi

# The environment, made anew when its requirements change.
$(VENV)/made: requirements.txt $(if $(SPHINX),requirements-$(SPHINX).txt)
	@$(call check_link,$(VENV))
	@command -v $(call quote,$(PYTHON)) > /dev/null || { \
	  echo 'There is no '$(call quote,"$(PYTHON)")': install Python 3.10 or later, or give make PYTHON=...' >&2; exit 1; }
	@$(call quote,$(PYTHON)) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo $(call quote,"$(PYTHON)")' is too old: install Python 3.10 or later, or give make PYTHON=...' >&2; exit 1; }
	@echo 'Making the environment in $(VENV), which takes some minutes once.'
	@$(call quote,$(PYTHON)) -m venv --clear $(VENV)
	@$(INSTALL) -r requirements.txt
ifdef SPHINX
	@$(INSTALL) --upgrade -r requirements-$(SPHINX).txt
endif
	@$(BIN)/python $(COMPILE) $(VENV) || true  # some files are no Python of this version
	@touch $@

# What tests run recipes beside. Not in the environment: torch differs where optree is, and
# executorch asks for much that no recipe needs.
$(VENV)/optree/made $(VENV)/executorch/made: $(VENV)/%/made: $(VENV)/made requirements-%.txt
	@rm -rf $(VENV)/$*
	@$(INSTALL) --no-deps --target $(VENV)/$* \
	  -r requirements-$*.txt && touch $@ || echo 'pip could not install $*: the tests with it are skipped.'

# The tools of "make lint", in an environment of their own: a build does not need them.
build/lint/made: requirements-lint.txt
	@$(call check_link,build/lint)
	@$(call quote,$(PYTHON)) -m venv --clear build/lint
	@build/lint/bin/python $(PIP) -r requirements-lint.txt
	@touch $@

.DEFAULT:
	@echo 'There is no target "$@". "make help" lists what there is.' >&2; exit 2
