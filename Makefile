# make lab    a sealed three-node lab from examples/lab.yaml, from bare
# make test   everything CI runs, from bare
# make test-netinst  the whole installation by Debian's installer
# make check  the fast part: types, lint, format, unit tests
# make bench  speed and size against the targets
# make clean  what was built here; not the cache, not a running lab

SPEC ?= examples/lab.yaml
NODE = here="$(CURDIR)"; . scripts/find-node.sh; find_node

.PHONY: lab test test-netinst check bench prepare clean
.SILENT:

lab:
	./scripts/setup.sh
	./kubedos up $(SPEC)

test:
	./scripts/setup.sh --tests
	$(MAKE) --no-print-directory prepare
	$(NODE); exec "$$node" scripts/test.mjs

check: prepare
	$(NODE); exec "$$node" scripts/test.mjs --fast

# Half an hour and more without KVM: Debian's installer from power-on to a node, by BIOS and by UEFI at once.
test-netinst: prepare
	$(NODE); exec "$$node" node_modules/vitest/vitest.mjs run --project netinst

bench: prepare
	$(NODE); exec "$$node" scripts/bench.mjs

# The launcher installs npm packages and bundles where that is due.
prepare:
	./kubedos --version >/dev/null

clean:
	rm -rf dist out examples/out node_modules/.vite
