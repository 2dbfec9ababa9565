//! The streams, consumers and buckets as the files of `nats/` declare them.

mod placement;
mod told;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Bus, Error, Stream,
    patience::patiently,
    repartition::{partitions_in, with_partitions},
    room,
};
use crate::config;

pub use told::{Change, Difference};

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
pub(super) struct Declared {
    pub(super) what: String,
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
        let repartition = patiently(async || self.repartition(&messages.config).await);
        let mut changes = Vec::from_iter(repartition.await?);
        for declared in &all {
            let found = patiently(async || self.found(declared).await).await?;
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
            let answer = patiently(async || self.changed(&subject, &body).await).await?;
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
        patiently(async || self.drop_surplus().await).await?;
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
            let found = patiently(async || self.found(&declared).await).await?;
            let found = found.unwrap_or_default();
            room::ensure_keeps_all(config, &found, &self.settings)?;
            let has = found["config"]["max_bytes"].as_u64().unwrap_or(0);
            reserved = reserved.saturating_add(has);
            let growth = i128::from(room::max_bytes(config, &self.settings)) - i128::from(has);
            sorted.push((growth, declared));
        }
        let account = patiently(async || self.api_info("INFO").await).await?;
        let account = account.unwrap_or_default();
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
            match patiently(async || self.found(&declared).await).await? {
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

    pub(super) async fn found(&self, declared: &Declared) -> Result<Option<Value>, Error> {
        self.api_info(&declared.info).await
    }

    /// Asks for a change. Its answer, unless there is no leader that could make it.
    async fn changed(&self, subject: &str, body: &Value) -> Result<Value, Error> {
        let answer: Value = self.context.request(subject.to_owned(), body).await?;
        let error = &answer["error"];
        match error.is_object().then(|| Error::refused(subject, error)) {
            Some(refused) if refused.is_transient() => Err(refused),
            _ => Ok(answer),
        }
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
            Some(_) => Err(Error::refused(subject, &answer["error"])),
            None => Ok(Some(answer)),
        }
    }
}

/// Whether the API did what it was asked for.
fn accepted(subject: &str, answer: &Value) -> Result<(), Error> {
    match &answer["error"] {
        Value::Null => Ok(()),
        error => Err(Error::refused(subject, error)),
    }
}

/// The files with the settings put in.
pub(super) fn declared(settings: &config::Bus) -> Vec<Declared> {
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
