# What one runs on this tree, beside `bash .ci/run`.

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
KIT    := --manifest-path tests/bench/kit/Cargo.toml
RATES  := tiny,log,workers,16k,1m,churn,rate

.PHONY: help build check test demo bench bench-quick gates memory flat reloads hand-overs joining \
	failover pressure hostile saturation match-night soak fuzz drills kit

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## the door as it is shipped
	$(CARGO) build --release --locked -p tidegate

check: ## formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

test: ## all tests
	bash .ci/test

demo: ## a match night: a crowd, capacity that follows it, a backend killed and brought back
	$(CARGO) run --release --locked -p tidegate -- demo

bench: build ## compare with HAProxy and nginx: minutes on a quiet machine with 2 CPUs, as root
	tests/bench/needs.sh
	tests/bench/bench.py --gates

bench-quick: build ## the same in a minute or two, for a first impression
	tests/bench/needs.sh
	tests/bench/bench.py --rounds 3 --seconds 0.3 --scenarios $(RATES)

gates: kit build ## instructions and system calls per request, against their ceilings
	tests/bench/needs.sh python3 taskset valgrind strace
	tests/bench/gates.py

memory: build ## 512 MiB through the door, and a backend that stalls
	tests/bench/needs.sh python3 taskset
	tests/bench/memory.py

flat: build ## ten minutes of load that nobody scrapes: the memory stays as it is
	tests/bench/needs.sh python3 taskset
	tests/bench/flat.py

# Drills want a machine to themselves for minutes, so CI does not run them.
drills: memory flat reloads hand-overs joining failover pressure hostile saturation match-night ## what is proved only under load

reloads: ## a hundred reloads and twenty changes of `workers` under load
	TIDEGATE_DRILL=1 $(CARGO) test --locked --release -p tests --test reload -- --nocapture

hand-overs: ## twenty hand-overs of the program under new connections
	TIDEGATE_DRILL=1 $(CARGO) test --locked --release -p tests --test hand_over -- --nocapture

joining: ## backends that take 20 s to be ready, and a first one that takes 6 s
	TIDEGATE_DRILL=1 $(CARGO) test --locked --release -p tests --test membership --test slow_start --test panic --test queue --test thread

failover: ## backends that die, hang, restart and close their connections, under load
	TIDEGATE_DRILL=1 $(CARGO) test --release --locked -p tests --test failover -- --include-ignored --nocapture

pressure: ## ten thousand clients at once against caps of every size
	TIDEGATE_DRILL=1 $(CARGO) test --release --locked -p tests --test pressure -- --nocapture

hostile: ## thousands of clients that mean no good, and 10 GiB each way
	TIDEGATE_DRILL=1 $(CARGO) test --release --locked -p tests --test hostile -- --test-threads=1 --nocapture

saturation: ## a minute without processor time to spare, and no verdict changes
	TIDEGATE_DRILL=1 $(CARGO) test --release --locked -p tests --test saturation -- --nocapture

match-night: ## six minutes: ten times the load and back, while instances and the door are killed
	TIDEGATE_DRILL=1 $(CARGO) test --release --locked -p tests --test match_night -- --test-threads=1 --nocapture

# Half an hour, so it is not one of the drills.
soak: ## half an hour (TIDEGATE_SOAK_MINUTES) of load while backends die and come
	TIDEGATE_DRILL=1 $(CARGO) test --release --locked -p tests --test soak -- --nocapture

FUZZ_SECONDS ?= 600

# libFuzzer needs a nightly compiler, and its own build (tests/fuzz/Cargo.toml).
fuzz: ## bytes that nobody wrote, for codec, configuration and a running door: ten minutes each
	tests/fuzz/run.sh request $(FUZZ_SECONDS)
	tests/fuzz/run.sh response $(FUZZ_SECONDS)
	tests/fuzz/run.sh config $(FUZZ_SECONDS)
	TIDEGATE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked -p tests --test mutations --test check

# The kit is outside the workspace, so that nothing above reaches it.
kit: ## lints and tests of the benchmark itself
	$(CARGO) fmt $(KIT) --check
	$(CARGO) clippy $(KIT) --target-dir $(TARGET)/kit --all-targets --locked -- -D warnings
	$(CARGO) test $(KIT) --target-dir $(TARGET)/kit --locked
	python3 -m unittest discover --quiet tests/bench
