# The project's commands. `make` alone lists them.
SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

bin := node_modules/.bin
# Finds the same mistakes as 6, in a quarter of its time.
tsc7 := node node_modules/typescript-7/bin/tsc
# The longest first: they wait more than they compute, so the others run beside them.
checks := drizzle-0.44 drizzle-1 eslint typescript-5 prettier typescript-7 nestjs typedoc attw publint tracked
checks := $(addprefix check-,$(checks))
attw := $(bin)/attw --pack . --profile esm-only --no-definitely-typed --format ascii --no-emoji --no-color

.PHONY: help install build demo test test-drizzle-0.44 test-drizzle-1 check $(checks) bench bench-quick bench-growth bench-emmett format clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  BACKENDS=memory make test                the inner loop: suites on one backend (names separated by commas)'
	@echo '  DRIZZLE_URL=sqlite:school.db make demo   keep the demo database; postgresql://… shows it there'

install: node_modules/.package-lock.json ## Install what package-lock.json lists, if it changed since the last time

# npm writes this file last, so it is as old as the latest complete installation.
node_modules/.package-lock.json: package-lock.json
	@node -e '$(node_is_supported)'
	@[ ! -L node_modules ] || { $(say_whose_link); exit 1; }
	@npm ci --no-audit --no-fund || { $(say_what_compiling_needs); exit 1; }
	@node -e '$(sqlite_opens)'
	@touch $@

build: install ## Compile lib, spec, bench and the examples into dist
	@$(remove_outputs_without_source)
	@$(bin)/tsc -p .

demo: build ## Run the training school: events and a table of your own, committed and rolled back together
	@node dist/docs/examples/training-school/demo.js

test: build ## Run all specs
	@$(bin)/mocha

test-drizzle-0.44: build ## Compile all, and run what Drizzle may change, on the oldest drizzle-orm that users may have
	@$(works_on_drizzle_0.44)

test-drizzle-1: build ## The same on the coming drizzle-orm, to see how far we are; fails nothing
	@$(works_on_drizzle_1)

check: build ## Before a pull request: format, lint, other compilers, the package as others get it, documentation
	@$(MAKE) --no-print-directory --keep-going --jobs=3 $(grouped_output) $(checks)
	@echo 'check: all fine'

bench: build ## Measure raw drivers and ours in one run, and write bench/RESULTS.md (some minutes)
	@node dist/bench/run.js

bench-quick: build ## The same in less than two minutes, to see a change; writes nothing down
	@node dist/bench/run.js --quick

bench-emmett: build bench/emmett-postgresql/node_modules/.package-lock.json bench/emmett-sqlite/node_modules/.package-lock.json ## Measure Emmett's stores beside ours, and write bench/EMMETT.md (some minutes)
	@node dist/bench/emmett.js

# Packages of their own: nothing of Emmett is needed for anything else.
bench/emmett-%/node_modules/.package-lock.json: bench/emmett-%/package-lock.json
	@cd bench/emmett-$* && npm ci --no-audit --no-fund
	@touch $@

bench-growth: build ## What a save costs as events grow to 2 million, and what memory reads and many saves take (5 min.)
	@node dist/bench/growth.js

format: install ## Format every file
	@$(bin)/prettier --write --log-level warn .

clean: ## Remove what was built (dist, coverage) and installed (node_modules)
	@rm -rf dist coverage node_modules bench/emmett-*/node_modules

# ---- what `make check` runs, several at once: what is to be built is built before ----

check-prettier:
	@echo '· prettier: formatted as agreed (make format mends it)'
	@$(bin)/prettier --check --log-level warn .

check-eslint:
	@echo '· eslint: no promise left alone, and a few more'
	@$(bin)/eslint .

check-typescript-5:
	@echo '· TypeScript 5.9: compiles there too'
	@node node_modules/typescript-5/bin/tsc -p . --noEmit

check-typescript-7:
	@echo '· TypeScript 7: compiles there too'
	@$(tsc7) -p . --noEmit

check-nestjs:
	@echo '· the NestJS example: compiles with the decorators that Nest needs'
	@$(bin)/tsc -p docs/examples/web-frameworks/nestjs

check-drizzle-0.44:
	@echo '· drizzle-orm 0.44: compiles there too, and specs pass that it may change'
	@$(works_on_drizzle_0.44)

check-drizzle-1:
	@echo '· drizzle-orm 1: how much of that holds there'
	@$(works_on_drizzle_1)

check-publint:
	@echo '· publint: package.json points at files that are there, in the right format'
	@$(bin)/publint --strict

check-attw:
	@echo '· attw: every entry point has its types, as an ESM package'
	@$(attw) --quiet || { $(attw); exit 1; }

check-typedoc:
	@echo '· typedoc: every export has a docstring, every link in them leads somewhere'
	@$(bin)/typedoc --emit none --logLevel Warn

check-tracked:
	@echo '· git: no build output, database or installed package is tracked'
	@! git ls-files --cached --ignored --exclude-standard | grep . || { echo 'Tracked, though .gitignore lists them: git rm --cached …'; exit 1; }

# ---- what the recipes above use ----

# Each check's lines together, where make can: the one that macOS brings can't, and mixes them.
grouped_output := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

define node_is_supported
var v = process.versions.node.split(".").map(Number); \
if (!(v[0] === 20 && v[1] >= 19 || v[0] === 22 && v[1] >= 12 || v[0] > 22)) { \
  console.error("This is Node " + process.versions.node + ". Please use Node 20.19 or later, or 22.12 or later."); \
  process.exit(1) }
endef

# Of a package, with ms for each case. Threads and child processes of the specs inherit NODE_OPTIONS.
define all_specs_on
OTHER_DRIZZLE=$(1) NODE_OPTIONS="$$NODE_OPTIONS --import=\"$(CURDIR)/dist/spec/support/other-drizzle.js\"" \
  $(3) $(bin)/mocha --no-config --enable-source-maps --timeout $(2) --reporter dot dist/spec/support/all-specs.mjs
endef

define works_on_drizzle_0.44
$(tsc7) -p tsconfig.drizzle-0.44.json && $(call all_specs_on,drizzle-orm-0.44,60000)
endef

# Five minutes at most where there is a timeout command: nobody has said that it comes to an end.
define works_on_drizzle_1
log=dist/drizzle-1.log; \
errors=$$($(tsc7) -p tsconfig.drizzle-1.json --pretty false | grep -c 'error TS'); \
$(call all_specs_on,drizzle-orm-1,20000,$$(command -v timeout >/dev/null && echo timeout -k 10 300)) --exit --no-color >$$log 2>&1; \
count() { sed -nE "s/^ +([0-9]+) $$1.*/\1/p" $$log | tail -n 1; }; \
passed=$$(count passing) failed=$$(count failing); \
if [ -n "$$passed" ]; then echo "$$passed passed, $${failed:-0} failed, $$errors type errors (a check that may fail; $$log)"; \
else echo "did not run to its end (a check that may fail; $$log)"; fi
endef

define sqlite_opens
try { new (require("better-sqlite3"))(":memory:").close() } catch (error) { \
  console.error("better-sqlite3 was installed, but not its binary: " + error.message.split("\n")[0] + "\n" + \
    "If npm is set to ignore-scripts, run: npm rebuild better-sqlite3 --ignore-scripts=false"); \
  process.exit(1) }
endef

# npm ci empties node_modules first, through a link too: in a work tree with a link it would empty another's.
define say_whose_link
echo "node_modules is a link to $$(readlink node_modules), and package-lock.json is newer than what is installed there. \
Run make install there, and touch node_modules/.package-lock.json if both lock files are the same." >&2
endef

# Only where the installation failed: mostly the binary comes ready from the network and needs no compiler.
define say_what_compiling_needs
missing=; for tool in g++ make python3; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
[ -z "$$missing" ] || echo "better-sqlite3's ready-made binary could not be fetched, and compiling it needs:$$missing. \
Install them (Debian: apt-get install g++ make python3) and run make install again." >&2
endef

# A spec that was renamed would otherwise go on running under its old name.
define remove_outputs_without_source
for output in $$(find dist/lib dist/spec dist/bench dist/docs/examples -name '*.js' 2>/dev/null); do \
  name=$${output#dist/}; name=$${name%.js}; \
  [ -e $$name.ts ] || rm -f dist/$$name.{js,js.map,d.ts,d.ts.map}; done
endef
