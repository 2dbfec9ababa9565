# Two commands do everything: `make demo` and `make test`.

.PHONY: demo test chaos bench bench-lab bench-rivals bench-scale bench-store bench-outage bench-whatsapp nats cassandra

# The main job on embedded defaults, told in plain words. KEEP=1 leaves it running; STORE=cql puts the audit into Cassandra.
# Built together with the stand-in WhatsApp server, whose certificate this build of the client accepts: a build for use
# is `cargo build --release`.
demo: nats $(if $(filter cql,$(STORE)),cassandra)
	cargo build --locked --package wahook --package whatsapp-sim --bins
	python3 examples/demo.py $(if $(KEEP),--keep) $(if $(filter cql,$(STORE)),--cql)

# All tests. They start the servers they need on free ports, Cassandra among them where there are JDK 17 and Maven. With the
# feature that is off by default, so that it is tested, too; the demo is built without.
test: nats cassandra
	cargo test --workspace --features wahook/cql-tls --locked

# The same faults as in `make test`, many more of them: 200 kills, and every scenario one after the other, so that none
# disturbs another's times. CHAOS_SEED=… draws the chances of an earlier run again.
chaos: nats
	CHAOS_KILLS=$(or $(CHAOS_KILLS),200) cargo test --locked --test chaos -- --test-threads=1

# Deliveries per second, latency, and what one hanging endpoint, or a replay, does to the others.
bench: nats
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench throughput
	target/release/wahook-bench latency
	target/release/wahook-bench isolation
	target/release/wahook-bench replay

# Healthy, hanging, slow, failing and limited endpoints, kills, a backlog, in one report. See docs/benchmarks.md.
bench-lab: nats
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench lab

# wahook beside the design that it replaces (Node.js, BullMQ, Redis, PostgreSQL) and beside the bare floor, in one run.
bench-rivals: nats
	bench/rivals/bullmq/install.sh
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench rivals

# What dead endpoints, parked retries, many endpoints and many processes cost. About half an hour.
bench-scale: nats
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench dead-half
	target/release/wahook-bench parked
	target/release/wahook-bench endpoints
	target/release/wahook-bench fleet

# Attempts per second through the record role, statements per delivery, pages, bytes per attempt: in both homes.
ROWS ?= 1000000
bench-store: nats cassandra
	cargo build --release --locked --package wahook-bench
	target/release/wahook-bench store --kind sqlite --rows $(ROWS)
	target/release/wahook-bench store --kind cql --rows $(ROWS)

# The store away for so many minutes, under load, in both homes.
MINUTES ?= 10
bench-outage: nats cassandra
	cargo build --release --locked --package wahook --package wahook-bench
	target/release/wahook-bench outage --kind sqlite --minutes $(MINUTES)
	target/release/wahook-bench outage --kind cql --minutes $(MINUTES)

# Memory per WhatsApp session, and messages per second from WhatsApp to the stream. In a folder of its own: this build of
# the client accepts the stand-in's certificate.
bench-whatsapp: nats
	cargo build --release --locked --package wahook --package whatsapp-sim --bins --target-dir target/stand-in
	target/stand-in/release/whatsapp-load

# nats-server into .tools, if it is not there.
nats:
	@scripts/install-nats.sh

# Cassandra into .tools, for the tests of the CQL store.
cassandra:
	@scripts/install-cassandra.sh
