//! Checks between keys. Each is an error, not a warning, because the fault that it prevents appears
//! only under load or at a shutdown.

use std::time::Duration;

use super::{
    error::{Error, Origin},
    merge::Values,
    settings::{Config, StoreKind},
    units::show_duration,
};

/// Time to publish the result and to settle the message, beyond the work itself.
const ACK_MARGIN: Duration = Duration::from_secs(10);
/// Time to publish the last result before the process ends.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

struct Check<'a> {
    values: &'a Values,
    /// Errors found before. A key that has one is not checked against others.
    earlier: &'a [Error],
    errors: Vec<Error>,
}

/// Checks only the section of the store that `store.kind` names: the other one is not used.
pub(super) fn check(config: &Config, values: &Values, earlier: &[Error]) -> Vec<Error> {
    let mut check = Check {
        values,
        earlier,
        errors: Vec::new(),
    };
    check.ack_wait(config);
    check.drain(config);
    check.limits(config);
    check.nats(config);
    check.proxy(config);
    match config.store.kind {
        StoreKind::Sqlite => check.sqlite(config),
        StoreKind::Cql => check.cql(config),
    }
    check.that(
        config.api.listen.port() == 0 || config.api.listen != config.admin.listen,
        &["admin.listen", "api.listen"],
        "it must not be the address of api.listen: probes and metrics know no authentication",
        "choose another port",
    );
    check.errors
}

impl Check<'_> {
    /// Records a conflict for the first of `keys`, unless `holds` is true or one of the keys
    /// already has an error.
    fn that(&mut self, holds: bool, keys: &[&str], reason: &str, remedy: &str) {
        let wrong = |key: &&str| self.earlier.iter().any(|error| error.key() == Some(key));
        if holds || keys.iter().any(wrong) {
            return;
        }
        let origin = self
            .values
            .get(keys[0])
            .map_or(Origin::Default, |value| value.origin.clone());
        self.errors.push(Error::Conflict {
            key: keys[0].to_owned(),
            origin,
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn ack_wait(&mut self, Config { bus, deliver, .. }: &Config) {
        let attempt = deliver.timeout + deliver.lane_wait + ACK_MARGIN;
        self.that(
            bus.ack_wait > attempt,
            &["bus.ack_wait", "deliver.timeout", "deliver.lane_wait"],
            "it must exceed deliver.timeout + deliver.lane_wait + 10s, or messages in flight are \
             redelivered",
            &format!(
                "set it above {}, or lower the other two",
                show_duration(attempt)
            ),
        );
        self.that(
            bus.ack_wait > bus.publish_deadline,
            &["bus.publish_deadline", "bus.ack_wait"],
            "it must be below bus.ack_wait, or a message is redelivered while its result is \
             being published",
            &format!(
                "set it below {}, or raise bus.ack_wait",
                show_duration(bus.ack_wait)
            ),
        );
    }

    fn drain(&mut self, Config { node, deliver, .. }: &Config) {
        let drain = deliver.timeout + DRAIN_MARGIN;
        self.that(
            node.drain_deadline > drain,
            &["node.drain_deadline", "deliver.timeout"],
            "it must exceed deliver.timeout + 5s, or a shutdown ends attempts that are then made \
             again",
            &format!(
                "set it above {}, or lower deliver.timeout",
                show_duration(drain)
            ),
        );
    }

    fn limits(&mut self, Config { deliver, .. }: &Config) {
        self.that(
            deliver.retry_base <= deliver.retry_max,
            &["deliver.retry_max", "deliver.retry_base"],
            "it must not be below deliver.retry_base, or no wait ever doubles",
            &format!(
                "set it to {} or more, or lower deliver.retry_base",
                show_duration(deliver.retry_base)
            ),
        );
        let webhook_max = deliver.in_flight;
        self.that(
            usize::try_from(webhook_max).is_ok_and(|max| max <= deliver.in_flight_max),
            &["deliver.in_flight_max", "deliver.in_flight"],
            "one webhook may not have more requests in flight than the whole process",
            &format!("set it to {webhook_max} or more, or lower deliver.in_flight"),
        );
    }

    fn sqlite(&mut self, Config { store, bus, .. }: &Config) {
        let write = store.busy_timeout + store.batch_wait + ACK_MARGIN;
        self.that(
            bus.ack_wait > write,
            &["bus.ack_wait", "store.busy_timeout", "store.batch_wait"],
            "it must exceed store.busy_timeout + store.batch_wait + 10s, or results are \
             redelivered while they are being written",
            &format!(
                "set it above {}, or lower the other two",
                show_duration(write)
            ),
        );
    }

    fn proxy(&mut self, Config { egress, .. }: &Config) {
        self.that(
            egress.proxy_user.is_some() == egress.proxy_password.is_some(),
            &["egress.proxy_user", "egress.proxy_password"],
            "a user needs a password, and a password a user",
            "set both, or none",
        );
        self.that(
            egress.proxy.is_some() || egress.proxy_user.is_none(),
            &["egress.proxy_user", "egress.proxy"],
            "it is for a proxy, and none is set",
            "set egress.proxy, too",
        );
    }

    fn nats(&mut self, Config { nats, .. }: &Config) {
        self.that(
            nats.user.is_some() || nats.password.is_none(),
            &["nats.password", "nats.user"],
            "a password needs a user",
            "set nats.user too",
        );
        self.that(
            nats.user.is_none() || nats.password.is_some(),
            &["nats.user", "nats.password"],
            "a user needs a password",
            "set nats.password too",
        );
        self.that(
            nats.user.is_none() || nats.credentials_file.is_none(),
            &["nats.credentials_file", "nats.user"],
            "there can be only one way to log in",
            "drop it, or nats.user and nats.password",
        );
        self.that(
            nats.jetstream_domain.is_none() || nats.jetstream_api_prefix.is_none(),
            &["nats.jetstream_api_prefix", "nats.jetstream_domain"],
            "a domain is a prefix already: $JS.<domain>.API",
            "drop it, or nats.jetstream_domain",
        );
    }

    fn cql(&mut self, Config { cql, bus, .. }: &Config) {
        self.that(
            !cql.nodes.is_empty(),
            &["cql.nodes"],
            "the store needs a first node to connect to",
            "name one",
        );
        self.that(
            cql.user.is_some() == cql.password.is_some(),
            &["cql.user", "cql.password"],
            "a user needs a password, and a password a user",
            "set cql.user and cql.password, or neither",
        );
        self.that(
            !cql.tls || cql.root_ca_file.is_some(),
            &["cql.tls", "cql.root_ca_file"],
            "TLS needs the authority that signed the nodes' certificates",
            "set cql.root_ca_file too",
        );
        self.that(
            cfg!(feature = "cql-tls") || !cql.tls,
            &["cql.tls"],
            "this wahook was built without TLS for the CQL store",
            "build it with `cargo build --release --features cql-tls`, or leave it false",
        );
        let write = cql.write_timeout + ACK_MARGIN;
        self.that(
            bus.ack_wait > write,
            &["bus.ack_wait", "cql.write_timeout"],
            "it must exceed cql.write_timeout + 10s, or results are redelivered while they are \
             being written",
            &format!(
                "set it above {}, or lower cql.write_timeout",
                show_duration(write)
            ),
        );
    }
}
