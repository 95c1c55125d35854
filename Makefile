# What there is to run. Debian or Ubuntu with Rust is enough; what else is needed is installed with apt.

.PHONY: help build small small-check demo failover-demo chaos failover-proof test bench units units-newer units-proof clean

help:
	@echo "make build   the program: target/release/woodward"
	@echo "make small   the init for containers, static: target/small/woodward"
	@echo "make demo    fourteen real services, three killed, why each came back"
	@echo "make chaos   the same services, ten minutes of faults (SEED=1 FOR=10m)"
	@echo "make failover-demo   three machines, etcd, and what happens when one dies, freezes or gives up (root)"
	@echo "make failover-proof  random faults on three machines, nobody ever twice at work (SEED=1 FOR=1h; root)"
	@echo "make units   units/generated anew, from the trees in supervisors"
	@echo "make units-proof  random trees under woodward and as units, compared (SEED=1 TREES=1000; root)"
	@echo "make units-newer  the same units before a newer systemd (root, network)"
	@echo "make test    everything that must pass"
	@echo "make bench   the figures of BENCHMARKS.md (root, a quiet machine)"
	@echo "make clean   removes what was built"

build:
	cargo build --release

# What an init in a container needs and no more: src/cli/small.rs. Static, position-independent. Relocations in the
# short form, and, where the linker is lld, equal functions once.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
comma := ,
SMALL := -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs \
	$(if $(findstring x86_64,$(HOST)),-C link-arg=-Wl$(comma)--icf=all)

small:
	RUSTFLAGS="$(SMALL)" cargo build --no-default-features --profile small --bin woodward --target $(HOST)
	mkdir -p target/small && cp target/$(HOST)/small/woodward target/small/woodward
	ls -l target/small/woodward

# The tests of the init, with this program; and the image of examples/container.
small-check: small
	PROGRAM_UNDER_TEST=$(CURDIR)/target/small/woodward cargo test --package woodward --test main init::

demo: build
	examples/mini-acs/install
	examples/mini-acs/demo

failover-demo: build
	examples/failover/install
	examples/failover/demo

# Everything that may happen to three hosts, by a seed; a witness judges. ONLY names faults of tests/cluster/fault.rs.
failover-proof: FOR ?= 1h
failover-proof:
	tests/cluster-bed/install
	FAILOVER_SEED=$(SEED) FAILOVER_FOR=$(FOR) $(if $(ONLY),FAILOVER_ONLY=$(ONLY)) \
		cargo test --package woodward --test main cluster::proof::random -- --nocapture

chaos: build
	examples/mini-acs/install
	examples/mini-acs/chaos

# The replay of the recorded Erlang traces and the tests with the real mini-ACS are part of `cargo test`.
test: build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	tests/oracle/live
	tests/systemd-bed/install
	tests/cluster-bed/install
	examples/mini-acs/install
	examples/integral/install
	examples/grid/install
	examples/mini-acs/demo
	cargo test --workspace --exclude woodward
	cargo test --package woodward --doc
	cargo test --package woodward --lib --bins --test main --test guard
	$(MAKE) small-check

# A change of a tree or of how units are made shows in the diff of units/generated.
units:
	WOODWARD_UPDATE=1 cargo test --package woodward --test main unit_generated::

# Random trees under woodward and as units, compared: TREES of them from SEED on. UNITS_ROOT and UNITS_RELEASE: another systemd.
SEED ?= 1
TREES ?= 1000
units-proof:
	UNITS_SEED=$(SEED) UNITS_TREES=$(TREES) cargo test --package woodward --test main random_trees -- --nocapture

# Units for 252 and for its own release, before the verifier of a newer systemd.
units-newer:
	cargo build
	tests/systemd-bed/newer target/debug/woodward
	UNITS_ROOT=$(CURDIR)/target/roots/trixie UNITS_RELEASE=257 UNITS_TREES=48 \
		cargo test --package woodward --test main -- units::random_trees_do units::the_trees

bench: build small
	benches/procs/run
	benches/procs/pid1
	benches/procs/takeover.py
	benches/survival/run 1000 5
	benches/health/run
	benches/units/boot
	tests/cluster-bed/install pacemaker
	benches/failover/run
	cargo bench --package woodward-engine
	ulimit -n 20000 && cargo bench --package woodward --bench spawn --bench log_capture --bench stage --bench render
	ls -l target/release/woodward

clean:
	cargo clean
	$(MAKE) -C examples/mini-acs/cpp clean
