//! The streams, consumers and buckets as the files of `nats/` declare them.

mod placement;

use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Bus, Error, Stream,
    repartition::{partitions_in, with_partitions},
    room,
};
use crate::config;

const STREAMS: [&str; 19] = [
    include_str!("../../nats/streams/WA_MSG.json"),
    include_str!("../../nats/streams/WA_RETRY.json"),
    include_str!("../../nats/streams/WA_HOLD.json"),
    include_str!("../../nats/streams/WA_CHAT.json"),
    include_str!("../../nats/streams/WA_RESULT.json"),
    include_str!("../../nats/streams/WA_DLQ.json"),
    include_str!("../../nats/streams/WA_ADV.json"),
    include_str!("../../nats/streams/WA_USAGE.json"),
    include_str!("../../nats/streams/WA_KEYS.json"),
    include_str!("../../nats/streams/KV_wa_webhooks.json"),
    include_str!("../../nats/streams/KV_wa_tokens.json"),
    include_str!("../../nats/streams/KV_wa_clients.json"),
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

/// What is done to a stream.
#[derive(Clone, Copy)]
enum Action {
    Create,
    Update,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
        }
    }
}

impl Declared {
    fn is_stream(&self, stream: Stream) -> bool {
        self.stream.is_none() && self.config["name"] == stream.as_str()
    }

    /// Its configuration, when this is a stream.
    fn stream_config(&self) -> Option<&Value> {
        self.stream.is_none().then_some(&self.config)
    }

    /// Subject and body of the request that makes or changes it.
    fn request(&self, action: Action) -> (String, Value) {
        let name = self.config["name"]
            .as_str()
            .or(self.config["durable_name"].as_str())
            .unwrap_or("");
        match self.stream {
            // `action` empty: create or update.
            Some(stream) => (
                format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"),
                json!({
                    "stream_name": stream.as_str(),
                    "config": self.config,
                    "action": "",
                }),
            ),
            None => (
                format!("STREAM.{}.{name}", action.as_str()),
                self.config.clone(),
            ),
        }
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
    /// [`Error::NoStorage`] and [`Error::LimitTooLow`] when the streams do not fit; else when the
    /// server refuses or does not answer.
    pub async fn apply(&self) -> Result<Vec<Change>, Error> {
        let all = self.by_growth(declared(&self.settings)).await?;
        let messages = all
            .iter()
            .find(|one| one.is_stream(Stream::Messages))
            .expect("embedded files are tested");
        let mut changes = Vec::from_iter(self.repartition(&messages.config).await?);
        for declared in &all {
            let found = self.found(declared).await?;
            let created = found.is_none();
            if found.is_some_and(|found| differences(declared, &found["config"]).is_empty()) {
                continue;
            }
            let action = if created {
                Action::Create
            } else {
                Action::Update
            };
            let (subject, body) = declared.request(action);
            let answer: Value = self.context.request(subject.clone(), &body).await?;
            if room::is_refusal(&answer["error"]) {
                let found = answer["error"]["description"].to_string();
                let streams: Vec<_> = all.iter().filter_map(Declared::stream_config).collect();
                return Err(room::no_storage(&streams, &self.settings, &found));
            }
            accepted(&subject, &answer)?;
            changes.push(Change {
                what: declared.what.clone(),
                created,
            });
        }
        self.drop_surplus().await?;
        Ok(changes)
    }

    /// Makes sure that there is room for all streams, and that none loses messages by its limit.
    /// Gives them back in the order in which they are to be changed: those that give room first,
    /// and consumers after their streams.
    async fn by_growth(&self, all: Vec<Declared>) -> Result<Vec<Declared>, Error> {
        let mut reserved = 0_u64;
        let mut sorted = Vec::new();
        for declared in all {
            let Some(config) = declared.stream_config() else {
                sorted.push((i128::MAX, declared));
                continue;
            };
            let found = self.found(&declared).await?.unwrap_or_default();
            room::ensure_keeps_all(config, &found, &self.settings)?;
            let has = found["config"]["max_bytes"].as_u64().unwrap_or(0);
            reserved = reserved.saturating_add(has);
            let growth = i128::from(room::max_bytes(config, &self.settings)) - i128::from(has);
            sorted.push((growth, declared));
        }
        let account = self.api_info("INFO").await?.unwrap_or_default();
        let account = room::Account {
            info: &account,
            reserved,
        };
        let streams: Vec<_> = sorted
            .iter()
            .filter_map(|(_, declared)| declared.stream_config())
            .collect();
        room::ensure_fits(&account, &streams, &self.settings)?;
        sorted.sort_by_key(|(growth, _)| *growth);
        Ok(sorted.into_iter().map(|(_, declared)| declared).collect())
    }

    /// Compares without changing anything.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn check(&self) -> Result<Vec<Difference>, Error> {
        let mut all = Vec::new();
        for declared in declared(&self.settings) {
            match self.found(&declared).await? {
                Some(found) => all.extend(differences(&declared, &found["config"])),
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
        self.api_info(&declared.info).await
    }

    /// Has the API change something.
    pub(super) async fn command(&self, subject: String, request: &Value) -> Result<(), Error> {
        let answer: Value = self.context.request(subject.clone(), request).await?;
        accepted(&subject, &answer)
    }

    /// Asks the API about one thing that is named in the subject; `None`: there is none.
    pub(super) async fn api_info(&self, subject: &str) -> Result<Option<Value>, Error> {
        // Not `context.request`: it sends `null`, and consumers are asked for with no body at all.
        let request = self.client.request(self.api_subject(subject), Bytes::new());
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

/// Whether the API did what it was asked for.
fn accepted(subject: &str, answer: &Value) -> Result<(), Error> {
    match answer["error"]["description"].as_str() {
        Some(text) => Err(Error::Refused(format!("{subject}: {text}"))),
        None => Ok(()),
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
        config["max_bytes"] = room::max_bytes(&config, settings).into();
        if let Some(placement) = placement::of(settings) {
            config["placement"] = placement;
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
mod tests;
