//! The streams, consumers and buckets as the files of `nats/` declare them.

use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Bus, Error, Stream,
    repartition::{partitions_in, with_partitions},
};
use crate::config;

const STREAMS: [&str; 16] = [
    include_str!("../../nats/streams/WA_MSG.json"),
    include_str!("../../nats/streams/WA_RETRY.json"),
    include_str!("../../nats/streams/WA_HOLD.json"),
    include_str!("../../nats/streams/WA_CHAT.json"),
    include_str!("../../nats/streams/WA_RESULT.json"),
    include_str!("../../nats/streams/WA_DLQ.json"),
    include_str!("../../nats/streams/WA_ADV.json"),
    include_str!("../../nats/streams/KV_wa_webhooks.json"),
    include_str!("../../nats/streams/KV_wa_tokens.json"),
    include_str!("../../nats/streams/KV_wa_settings.json"),
    include_str!("../../nats/streams/KV_wa_sessions.json"),
    include_str!("../../nats/streams/KV_wa_session_status.json"),
    include_str!("../../nats/streams/KV_wa_leases.json"),
    include_str!("../../nats/streams/KV_wa_sends.json"),
    include_str!("../../nats/streams/KV_wa_members.json"),
    include_str!("../../nats/streams/KV_wa_jobs.json"),
];
/// One with `{N}` stands for a consumer per partition: `{N}` is the partition, `{NN}` the same in
/// two digits.
const CONSUMERS: [(Stream, &str); 4] = [
    (
        Stream::Messages,
        include_str!("../../nats/consumers/deliver.json"),
    ),
    (
        Stream::Retries,
        include_str!("../../nats/consumers/retry.json"),
    ),
    (
        Stream::Results,
        include_str!("../../nats/consumers/record.json"),
    ),
    (
        Stream::Advisories,
        include_str!("../../nats/consumers/advisory.json"),
    ),
];
/// JetStream's code for "no such stream" and "no such consumer".
const NOT_FOUND: u64 = 404;

/// One thing to declare: where it is asked for, and how it should be.
struct Declared {
    what: String,
    info: String,
    config: Value,
    /// The stream, when this is a consumer of it.
    stream: Option<Stream>,
}

impl Declared {
    fn is_stream(&self, stream: Stream) -> bool {
        self.stream.is_none() && self.config["name"] == stream.as_str()
    }
}

/// What `apply` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Like `stream WA_MSG`.
    pub what: String,
    /// Whether it was missing before.
    pub created: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            if self.created { "created" } else { "updated" },
            self.what
        )
    }
}

/// How the server differs from the declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Like `stream WA_MSG`.
    pub what: String,
    /// Like `max_bytes`; empty when the whole thing is missing.
    pub field: String,
    /// As declared.
    pub expected: String,
    /// As found.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            field,
            expected,
            found,
        } = self;
        if field.is_empty() {
            return write!(f, "{what} is missing");
        }
        write!(f, "{what}: {field} is {found}, declared {expected}")
    }
}

impl Bus {
    /// Creates what is missing and updates what differs.
    ///
    /// # Errors
    /// [`Error::Partitions`] when the number of partitions is another and cannot be changed now;
    /// else when the server refuses or does not answer.
    pub async fn apply(&self) -> Result<Vec<Change>, Error> {
        let all = declared(&self.settings);
        let messages = all
            .iter()
            .find(|one| one.is_stream(Stream::Messages))
            .expect("embedded files are tested");
        let mut changes = Vec::from_iter(self.repartition(&messages.config).await?);
        for declared in all {
            let found = self.found(&declared).await?;
            let created = found.is_none();
            if found.is_some_and(|found| differences(&declared, &found).is_empty()) {
                continue;
            }
            let name = declared.config["name"]
                .as_str()
                .or(declared.config["durable_name"].as_str())
                .unwrap_or("");
            let (subject, body) = match declared.stream {
                // `action` empty: create or update.
                Some(stream) => (
                    format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"),
                    json!({
                        "stream_name": stream.as_str(),
                        "config": declared.config,
                        "action": "",
                    }),
                ),
                None => (
                    format!(
                        "STREAM.{}.{name}",
                        if created { "CREATE" } else { "UPDATE" }
                    ),
                    declared.config,
                ),
            };
            self.command(subject, &body).await?;
            changes.push(Change {
                what: declared.what,
                created,
            });
        }
        self.drop_surplus().await?;
        Ok(changes)
    }

    /// Compares without changing anything.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn check(&self) -> Result<Vec<Difference>, Error> {
        let mut all = Vec::new();
        for declared in declared(&self.settings) {
            match self.found(&declared).await? {
                Some(found) => all.extend(differences(&declared, &found)),
                None => all.push(Difference {
                    what: declared.what,
                    field: String::new(),
                    expected: String::new(),
                    found: String::new(),
                }),
            }
        }
        Ok(all)
    }

    async fn found(&self, declared: &Declared) -> Result<Option<Value>, Error> {
        let answer = self.api_info(&declared.info).await?;
        Ok(answer.map(|mut answer| answer["config"].take()))
    }

    /// Has the API change something.
    pub(super) async fn command(&self, subject: String, request: &Value) -> Result<(), Error> {
        let answer: Value = self.context.request(subject.clone(), request).await?;
        match answer["error"]["description"].as_str() {
            Some(text) => Err(Error::Refused(format!("{subject}: {text}"))),
            None => Ok(()),
        }
    }

    /// Asks the API about one thing that is named in the subject; `None`: there is none.
    pub(super) async fn api_info(&self, subject: &str) -> Result<Option<Value>, Error> {
        // Not `context.request`: it sends `null`, and consumers are asked for with no body at all.
        let request = self
            .client
            .request(format!("$JS.API.{subject}"), Bytes::new());
        let answer = request.await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        match answer["error"]["code"].as_u64() {
            Some(NOT_FOUND) => Ok(None),
            Some(_) => Err(Error::Refused(format!(
                "{subject}: {}",
                answer["error"]["description"]
            ))),
            None => Ok(Some(answer)),
        }
    }
}

/// The files with the settings put in.
fn declared(settings: &config::Bus) -> Vec<Declared> {
    let parse =
        |text: &str| -> Value { serde_json::from_str(text).expect("embedded files are tested") };
    let mut all = Vec::new();
    for text in STREAMS {
        let mut config = parse(text);
        config["num_replicas"] = settings.replicas.into();
        if config["discard"] == "new" && config["max_bytes"] != -1 {
            config["max_bytes"] = settings.message_bytes_max.into();
        }
        if config["subject_transform"].is_object() {
            config["subject_transform"] =
                with_partitions(&config["subject_transform"], settings.partitions);
        }
        let name = config["name"]
            .as_str()
            .expect("embedded files are tested")
            .to_owned();
        all.push(Declared {
            what: format!("stream {name}"),
            info: format!("STREAM.INFO.{name}"),
            config,
            stream: None,
        });
    }
    for (stream, text) in CONSUMERS {
        let each = if text.contains("{N") {
            settings.partitions
        } else {
            1
        };
        for partition in 0..each {
            let text = text
                .replace("{NN}", &format!("{partition:02}"))
                .replace("{N}", &partition.to_string());
            let mut config = parse(&text);
            config["ack_wait"] = u64::try_from(settings.ack_wait.as_nanos())
                .unwrap_or(u64::MAX)
                .into();
            let name = config["durable_name"]
                .as_str()
                .expect("embedded files are tested")
                .to_owned();
            let info = format!("CONSUMER.INFO.{stream}.{name}");
            all.push(Declared {
                what: format!("consumer {name} of {stream}"),
                info,
                config,
                stream: Some(stream),
            });
        }
    }
    all
}

/// Every declared field is compared; what the server adds is its own affair.
fn differences(declared: &Declared, found: &Value) -> Vec<Difference> {
    let fields = declared
        .config
        .as_object()
        .expect("embedded files are tested");
    let differs = fields
        .iter()
        .filter(|(field, expected)| !same(expected, &found[field.as_str()]));
    differs
        .map(|(field, expected)| {
            let what = declared.what.clone();
            let found = &found[field.as_str()];
            // In the words of the settings, where that is all.
            match (partitions_in(expected), partitions_in(found)) {
                (Some(wanted), Some(count)) if with_partitions(found, wanted) == *expected => {
                    Difference {
                        what,
                        field: "bus.partitions".to_owned(),
                        expected: wanted.to_string(),
                        found: count.to_string(),
                    }
                }
                _ => Difference {
                    what,
                    field: field.clone(),
                    expected: expected.to_string(),
                    found: found.to_string(),
                },
            }
        })
        .collect()
}

/// The server leaves out zeros and falses.
fn same(expected: &Value, found: &Value) -> bool {
    let empty = *expected == json!(0) || *expected == json!(false) || *expected == json!("");
    expected == found || (empty && found.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> config::Bus {
        config::load(&config::Sources::default())
            .expect("the defaults are right")
            .config
            .bus
    }

    #[test]
    fn every_file_is_sound_and_the_settings_reach_it() {
        let settings = config::Bus {
            replicas: 3,
            ..settings()
        };
        let all = declared(&settings);
        assert_eq!(
            all.len(),
            STREAMS.len() + (CONSUMERS.len() - 1) * usize::from(settings.partitions) + 1
        );
        assert!(
            all.iter()
                .filter(|one| one.stream.is_none())
                .all(|one| one.config["num_replicas"] == 3)
        );
        assert!(all.iter().all(|one| !one.config.to_string().contains("{N")));
    }

    #[test]
    fn a_difference_names_field_and_both_values() {
        let one = declared(&settings()).remove(0);
        let mut found = one.config.clone();
        assert_eq!(differences(&one, &found), []);
        found["max_bytes"] = 5.into();
        let all = differences(&one, &found);
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].to_string(),
            format!(
                "stream WA_MSG: max_bytes is 5, declared {}",
                one.config["max_bytes"]
            )
        );
    }
}
