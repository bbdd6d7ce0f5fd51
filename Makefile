# SPDX-License-Identifier: GPL-2.0
# The front door: verbs only, lab/ has the scripts behind them.

MAKEFLAGS += --no-print-directory
export KDIR

all: modules ## the module and the tests
	@lab/selftests

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 :/p' Makefile | \
		awk -F' :' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: ## our driver in a stock kernel: a disk, a filesystem, real data, proof
	@lab/demo

check: ## every test in uml, the smoke set in stock; T=name narrows it
	@lab/check '$(T)'

churn: ## N=3000 devices come and go; SEED=n, GUEST=stock, DRIVER=shipped
	@lab/campaign churn '$(N)' '$(SEED)' '$(GUEST)' '$(DRIVER)'

kill: ## servers die in N=2000 rounds, in every way and recovery mode
	@lab/campaign kill '$(N)' '$(SEED)' '$(GUEST)' '$(DRIVER)'

many: ## D=500 devices at once, beside one that is stuck
	@lab/campaign many '$(D)' '$(SEED)' '$(GUEST)' '$(DRIVER)'

matrix: ## N=288 cells: each way of the data, shape and recovery mode, twice
	@lab/campaign matrix '$(N)' '$(SEED)' '$(GUEST)' '$(DRIVER)'

stress: ## all I/O commands at random from many tasks, for S=600 seconds
	@lab/campaign stress '$(S)' '$(SEED)' '$(GUEST)' '$(DRIVER)'

bench: ## what I/O costs, beside others, into build/bench; QUICK=1: a minute
	@lab/bench '$(QUICK)' '$(PARTS)' '$(MODES)'

profile: ## where instructions go: MODE=copy, DRIVER=shipped, CLIENT="-d 1"
	@lab/profile '$(MODE)' '$(DRIVER)' '$(CLIENT)'

check-lab: ## prove that the lab sees failures, splats, leaks and hangs
	@lab/check-lab

modules: ## build/modules/ublk_drv.ko; KDIR=dir for headers of your own, W=1
	@lab/modules $(if $(W),W=$(W))

builtin: ## link the driver into a kernel and boot that
	@lab/builtin

graft: ## put the driver and its tests into the kernel tree KSRC=dir
	@lab/graft '$(KSRC)'

shell: ## a prompt beside the loaded module; GUEST=uml or GUEST=stock
	@lab/shell '$(GUEST)'

lint: ## checkpatch, W=1, sparse, kernel-doc, shellcheck, codespell
	@lab/lint

clean: ## remove what was built here; the cache stays
	@rm -rf build

purge: clean ## remove the lab's cache, too
	@lab/purge

.PHONY: all help demo check churn kill many matrix stress bench profile check-lab modules builtin graft shell lint clean purge
