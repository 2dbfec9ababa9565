# The two main commands are `make demo` and `make test`.

.PHONY: demo cluster certs dist try-package test chaos attack soak bench bench-compare bench-lab bench-rivals bench-scale \
	bench-store bench-outage bench-whatsapp page page-test nats cassandra receivers

# A whole delivery with the default settings, with explanations. KEEP=1 leaves everything running,
# and STORE=cql puts the audit into Cassandra. This build of the client accepts the certificate of
# the stand-in WhatsApp server, so do not use it elsewhere; `cargo build --release` makes one for
# use.
demo: nats $(if $(filter cql,$(STORE)),cassandra)
	cargo build --locked --package wahook --package whatsapp-sim --bins
	python3 examples/demo.py $(if $(KEEP),--keep) $(if $(filter cql,$(STORE)),--cql)

# Three nats-servers and a process for each role. A node that delivers, a server, and the process of
# the WhatsApp session are killed while messages flow, and it tells what became of these. KEEP=1
# leaves everything running.
cluster: nats
	cargo build --locked --package wahook --package whatsapp-sim --package certificates --bins
	python3 examples/cluster.py $(if $(KEEP),--keep)

# Certificates for trying out three servers with nats/cluster.conf: an authority, and a certificate
# with its key for each name. See docs/cluster.md.
CERTS ?= certs
NAMES ?= n1 n2 n3
certs:
	@cargo run --quiet --locked --package certificates -- $(CERTS) $(NAMES)

# All tests. They start the servers that they need on free ports. Those on Cassandra need JDK 17 and
# Maven, those with other people's receivers Python, Node.js and Go. `cql-tls` is off by default and
# on here, so that it is tested too.
test: nats cassandra receivers
	cargo test --workspace --features wahook/cql-tls --locked

# The same kinds of faults as in `make test`, but more of them: 200 kills, and all faults of the
# cluster. The scenarios run one after the other, so that they do not disturb each other's times.
# CHAOS_SEED=… repeats the random choices of an earlier run.
chaos: nats
	CHAOS_KILLS=$(or $(CHAOS_KILLS),200) CHAOS_FAULTS=$(or $(CHAOS_FAULTS),all) cargo test --locked --test chaos -- --test-threads=1

# The demo and all tests, ROUNDS times beside two busy loops, with a table of results. It finds what
# fails only now and then.
ROUNDS ?= 5
soak: nats cassandra
	scripts/soak.sh $(ROUNDS)

# What a hostile tenant, endpoint or peer does to others, on an optimised build: times and memory are
# judged, too. ATTACK_SECONDS=… sets how long each attack lasts.
attack: nats
	cargo build --release --locked --package wahook
	ATTACK_WAHOOK=target/release/wahook \
		cargo test --workspace --locked --test attack -- --test-threads=1 --nocapture

# Deliveries per second, latency, and the effect of a hanging endpoint or a replay on others.
bench: nats
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench throughput
	target/release/wahook-bench latency
	target/release/wahook-bench isolation
	target/release/wahook-bench replay

# Two builds in turns: OLD is a folder with the wahook and wahook-bench to compare with.
bench-compare: nats
	cargo build --release --locked --package wahook --package wahook-bench
	bench/compare.py $(OLD) target/release --rounds $(ROUNDS) -- throughput

# One report on healthy, hanging, slow, failing and limited endpoints, kills and a backlog. See
# docs/benchmarks.md.
bench-lab: nats
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench lab

# wahook, the design that it replaces (Node.js, BullMQ, Redis, PostgreSQL), and the bare minimum, in
# one run.
bench-rivals: nats
	bench/rivals/bullmq/install.sh
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench rivals

# The cost of dead endpoints, parked retries, many endpoints and many processes. Takes half an hour.
bench-scale: nats
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench dead-half
	target/release/wahook-bench parked
	target/release/wahook-bench endpoints
	target/release/wahook-bench fleet

# Attempts per second through the record role, statements per delivery, pages and bytes per attempt,
# with both stores.
ROWS ?= 1000000
bench-store: nats cassandra
	cargo build --release --locked --package wahook-bench
	target/release/wahook-bench store --kind sqlite --rows $(ROWS)
	target/release/wahook-bench store --kind cql --rows $(ROWS)

# An outage of the store for MINUTES minutes, under load, with both stores.
MINUTES ?= 10
bench-outage: nats cassandra
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench outage --kind sqlite --minutes $(MINUTES)
	target/release/wahook-bench outage --kind cql --minutes $(MINUTES)

# Memory per WhatsApp session, and messages per second from WhatsApp to the stream. It has a target
# folder of its own, because this build of the client accepts the stand-in's certificate.
bench-whatsapp: nats
	cargo build --release --locked --package wahook --package whatsapp-sim --bins \
		--target-dir target/stand-in
	target/stand-in/release/whatsapp-load

# Checks and builds the page from web/. The result is committed: see CONTRIBUTING.md.
page:
	web/build.sh

# The page in a real Chromium, which is installed by apt if there is none and this is root.
# PAGE_IMAGES=1 makes the pictures of docs/images.
page-test: nats
	cargo build --locked --package wahook --package whatsapp-sim --bins
	scripts/page-test.sh

# What can be installed, in dist/: a tar archive, a Debian package, and their checksums.
dist:
	scripts/dist.sh

# Installs that Debian package into a fresh root of Debian, starts it there and delivers a message. Then runs
# what the Helm chart makes on a read-only root. For root. EXECUTABLE=… with `make dist` packages what was built before.
try-package:
	scripts/try-package.sh

# Installs nats-server into .tools, if it is missing.
nats:
	@scripts/install-nats.sh

# Installs Cassandra into .tools, for the tests of the CQL store.
cassandra:
	@scripts/install-cassandra.sh

# Installs what other people wrote for receiving webhooks into .tools, for the tests that hand real
# deliveries to it.
receivers:
	@scripts/install-receivers.sh
