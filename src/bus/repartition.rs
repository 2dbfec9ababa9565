//! Changing the number of partitions. It moves numbers between them, so it is done only while they
//! are all empty and nobody delivers: a message in a partition that no longer is its number's would
//! be delivered beside its later messages, or by nobody.

use serde_json::{Value, json};

use super::{Bus, Change, Error, Stream, Work};

/// All whose subjects name a partition.
const STREAMS: [Stream; 4] = [
    Stream::Messages,
    Stream::Retries,
    Stream::ChatQueues,
    Stream::Results,
];
/// Bytes of the largest message that a closed stream takes: no message is so small.
const CLOSED: u32 = 1;

/// The number of partitions that a transform of WA_MSG's subjects makes.
pub(super) fn partitions_in(transform: &Value) -> Option<u16> {
    let (_, rest) = transform["dest"].as_str()?.split_once("{{partition(")?;
    rest.split_once(',')?.0.parse().ok()
}

/// The same transform with another number.
pub(super) fn with_partitions(transform: &Value, count: u16) -> Value {
    let mut changed = transform.clone();
    let dest = transform["dest"].as_str().unwrap_or_default();
    if let Some(found) = partitions_in(transform) {
        changed["dest"] = dest
            .replace(
                &format!("partition({found},"),
                &format!("partition({count},"),
            )
            .into();
    }
    changed
}

impl Bus {
    /// Divides the streams into as many partitions as the settings say, if they are there and have
    /// another number. What is published meanwhile is refused, and so published again a little
    /// later.
    ///
    /// # Errors
    /// [`Error::Partitions`] while a node delivers or anything waits; else when the server refuses
    /// or does not answer.
    pub(super) async fn repartition(&self, open: &Value) -> Result<Option<Change>, Error> {
        let wanted = self.partition_count();
        let Some(found) = self
            .partitions_found()
            .await?
            .filter(|found| *found != wanted)
        else {
            return Ok(None);
        };
        self.ensure_idle(found).await?;
        let transform = |count| with_partitions(&open["subject_transform"], count);
        let closed = |count| json!({"subject_transform": transform(count), "max_msg_size": CLOSED});
        // Nothing can come into what is closed. So what is seen then is so until it is open again.
        self.update(open, closed(found)).await?;
        let changed = async {
            self.ensure_idle(found).await?;
            self.update(open, closed(wanted)).await?;
            // A node that joined before this saw the old number, one that joins after it sees the
            // new one.
            self.ensure_idle(found).await
        };
        if let Err(error) = changed.await {
            self.update(open, json!({"subject_transform": transform(found)}))
                .await?;
            return Err(error);
        }
        self.update(open, json!({})).await?;
        Ok(Some(Change {
            what: format!("number of partitions from {found} to {wanted}"),
            created: false,
        }))
    }

    /// Ends with an error where the number of partitions is another than the settings say.
    ///
    /// # Errors
    /// [`Error::Partitions`] then; else when the server does not answer.
    pub async fn ensure_partitions(&self) -> Result<(), Error> {
        let found = self.partitions_found().await?;
        let wanted = self.partition_count();
        match found.filter(|found| *found != wanted) {
            Some(found) => Err(Error::Partitions {
                found,
                wanted,
                why: "it was changed while this node started".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// How many partitions the streams have; `None`: there are none yet.
    pub(super) async fn partitions_found(&self) -> Result<Option<u16>, Error> {
        let messages = self.api_info(&info(Stream::Messages)).await?;
        Ok(messages.and_then(|found| partitions_in(&found["config"]["subject_transform"])))
    }

    /// Nobody delivers, and nothing waits.
    async fn ensure_idle(&self, found: u16) -> Result<(), Error> {
        let refused = |why| {
            Err(Error::Partitions {
                found,
                wanted: self.partition_count(),
                why,
            })
        };
        if let Some((name, _)) = self.members().await?.first() {
            return refused(format!("the node {name} delivers, or did some seconds ago"));
        }
        for stream in STREAMS {
            let info = self.api_info(&info(stream)).await?.unwrap_or_default();
            match info["state"]["messages"].as_u64().unwrap_or(0) {
                0 => {}
                waiting => return refused(format!("{stream} has {waiting} messages")),
            }
        }
        Ok(())
    }

    /// Drops the consumers of partitions that are no more: they were empty when the number was
    /// changed.
    pub(super) async fn drop_surplus(&self) -> Result<(), Error> {
        for work in [Work::Message, Work::Retry, Work::Result] {
            let stream = work.stream();
            let named = self
                .api_info(&format!("CONSUMER.NAMES.{stream}"))
                .await?
                .unwrap_or_default();
            let known: Vec<String> = (0..self.partition_count())
                .map(|partition| work.consumer(partition).1)
                .collect();
            let prefix = format!("{}-", work.as_str());
            let ours =
                |name: &&str| name.starts_with(&prefix) && !known.iter().any(|known| known == name);
            for name in named["consumers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .filter(ours)
            {
                self.api_info(&format!("CONSUMER.DELETE.{stream}.{name}"))
                    .await?;
            }
        }
        Ok(())
    }

    /// WA_MSG as declared, except for these fields.
    async fn update(&self, declared: &Value, fields: Value) -> Result<(), Error> {
        let mut config = declared.clone();
        if let (Value::Object(config), Value::Object(fields)) = (&mut config, fields) {
            config.extend(fields);
        }
        self.command(format!("STREAM.UPDATE.{}", Stream::Messages), &config)
            .await
    }
}

fn info(stream: Stream) -> String {
    format!("STREAM.INFO.{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_and_replaced() {
        let transform = json!({
            "src": "a.*.*",
            "dest": "a.{{partition(8,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}",
        });
        assert_eq!(partitions_in(&transform), Some(8));
        let changed = with_partitions(&transform, 16);
        assert_eq!(
            changed,
            json!({
                "src": "a.*.*",
                "dest": "a.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}",
            })
        );
        assert_eq!(partitions_in(&Value::Null), None);
    }
}
