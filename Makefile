# The two commands: 'make rehearse' and 'make test'. Each sets up all that is missing, once, below ~/.cache/bigvm.
# Everything runs in the build tree .build/ansible_collections/bigvm/live_migration, a copy of these sources.

PYTHON ?= python3
TOOLS := tests/tools
TREE := .build/ansible_collections/bigvm/live_migration
RUN := $(PYTHON) $(TOOLS)/enter.py run
TEST := $(PYTHON) $(TOOLS)/enter.py test
SUITE := $(TEST) python $(TOOLS)/suite.py
LAB_BUILD := $(TEST) python tests/lab/kubernetes/build.py
BENCH := $(TEST) env PYTHONPATH=$(CURDIR)/.build

# Recorded material shared between developers, when it lies beside the clone; tests that need it say so when it does not.
BIGVM_SHARED ?= $(wildcard $(abspath $(CURDIR)/../shared))
export BIGVM_SHARED

# A rehearsal reads like the runbook: only what changed or was said, 80 columns, no colours in a file.
REHEARSAL := ANSIBLE_DISPLAY_OK_HOSTS=false ANSIBLE_DISPLAY_SKIPPED_HOSTS=false ANSIBLE_LOCALHOST_WARNING=false \
	ANSIBLE_INVENTORY_UNPARSED_WARNING=false ANSIBLE_DEPRECATION_WARNINGS=false \
	ANSIBLE_CALLBACK_RESULT_FORMAT=yaml COLUMNS=80

.DEFAULT_GOAL := help
.PHONY: help rehearse test test-lab lab-libvirt lab-build lab-kubernetes lab-test lab-kubevirt rbac verdict roles venv deps tree unit contract playbooks integration sanity lint docs build molecule \
	bench-wait bench-start bench-plan bench-disturbed bench-overhead bench-facts bench-forecast bench-libvirt fix changelog lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A scenario is the test of that letter with all that the operator sees; it ends 0 exactly when its expectations are met.
rehearse: ## a node's maintenance on the embedded cluster [TOPOLOGY=... ARGS='-e ...'], or one of ten bad nights [SCENARIO=a]
ifdef SCENARIO
	@BIGVM_SHOW=1 $(BENCH) sh -c 'cd $(TREE) && exec python -m pytest -q -s --no-header --tb=short \
		tests/playbooks/test_night.py -k "test_$(SCENARIO)_"'
else
	@$(REHEARSAL) $(RUN) ansible-playbook bigvm.live_migration.rehearse \
		$(if $(TOPOLOGY),-e rehearsal_topology='$(TOPOLOGY)') $(ARGS)
endif

test: ## everything that needs neither root nor long builds
	@$(SUITE) test

lab-libvirt: ## real libvirt hosts in namespaces, with real QEMU guests that really migrate
	@$(SUITE) $@

lab-build: ## the real control plane and KubeVirt's controllers, built once from the Go module proxy (minutes)
	@$(LAB_BUILD) lab-kubernetes lab-kubevirt

lab-kubernetes: ## start or stop a real control plane on loopback [ARGS='start|stop|status [--kubevirt]']
	@$(LAB_BUILD) lab-kubernetes $(if $(findstring --kubevirt,$(ARGS)),lab-kubevirt)
	@$(TEST) python tests/lab/kubernetes/lab.py $(or $(ARGS),start)

lab-test: ## the contract suite on the real control plane
	-@$(LAB_BUILD) lab-kubernetes
	@$(SUITE) lab-kubernetes

lab-kubevirt: ## our modules and the verdict against KubeVirt's own virt-api and virt-controller
	-@$(LAB_BUILD) lab-kubernetes lab-kubevirt
	@$(SUITE) lab-kubevirt

test-lab: ## what needs root, long builds (the labs) or long runs; what cannot be built is skipped and said
	-@$(MAKE) --no-print-directory lab-build
	@$(SUITE) lab

rbac: ## write docs/rbac anew from the table of rights
	@$(BENCH) python $(TOOLS)/rbac.py

verdict: ## write docs/verdict.md anew from the table of reasons
	@$(BENCH) python $(TOOLS)/verdict_page.py

roles: ## write the tables of variables in the roles' READMEs anew from their specifications
	@$(BENCH) python $(TOOLS)/role_readme.py

venv deps tree: ## set up: Python packages, collections, build tree
	@$(TEST)

unit contract playbooks integration sanity lint docs build molecule: ## one part of the tests [PYTEST_ADDOPTS='-k ...']
	@$(SUITE) $@

bench-wait: ## how soon a module returns after a migration's end, and at how many requests
	@$(BENCH) python tests/bench/wait.py $(ARGS)

bench-start: ## how fast the embedded cluster starts, and what 5,000 VMIs cost
	@$(BENCH) python tests/bench/start.py $(ARGS)

bench-overhead: ## what a task that has nothing to do costs, beside one of kubernetes.core
	@$(BENCH) python tests/bench/overhead.py $(ARGS)

bench-plan: ## how near evacuation plans come to the shortest possible
	@$(BENCH) python tests/bench/plan.py $(ARGS)

bench-disturbed: ## how good forecasts are when the night is not as foreseen (whole migrations on embedded clusters)
	@$(BENCH) python tests/bench/disturbed.py $(ARGS)

bench-forecast: ## how near the forecast comes to real QEMU migrations (root, Debian 12, ten minutes)
	@$(BENCH) python tests/bench/forecast.py $(ARGS)

bench-libvirt: ## what libvirt_migrate costs beside a bare virsh migrate (root, Debian 12)
	@$(BENCH) python tests/bench/libvirt.py $(ARGS)

bench-facts: ## what judging 5,000 VMs costs, beside a loop and a bare client
	@$(BENCH) python tests/bench/facts.py $(ARGS)

fix: ## sort imports and mend what ruff can mend by itself
	@$(TEST) ruff check --no-cache --fix .

changelog: ## release the changelog fragments under the version of galaxy.yml
	@$(TEST) antsibull-changelog release

lock: ## write tests/requirements.txt anew from tests/requirements.in
	@$(PYTHON) $(TOOLS)/lock.py

clean: ## remove the build tree (the cache below ~/.cache/bigvm stays)
	rm -rf .build
