//! Changing the number of partitions. It moves numbers between them, so it is done only while they are all empty and
//! nobody delivers: what lies in a partition that is a number's no longer would be delivered beside its later messages,
//! or by nobody.

use std::ops::Range;

use serde_json::Value;

use super::{Bus, Change, Error, Work};

const MESSAGES: &str = "WA_MSG";
/// All whose subjects name a partition.
const STREAMS: [&str; 4] = [MESSAGES, "WA_RETRY", "WA_CHAT", "WA_RESULT"];

/// The number of partitions that a transform of WA_MSG's subjects makes.
pub(super) fn partitions_in(transform: &Value) -> Option<u16> {
    let (_, rest) = transform["dest"].as_str()?.split_once("{{partition(")?;
    rest.split_once(',')?.0.parse().ok()
}

/// The same transform with another number.
pub(super) fn with_partitions(transform: &Value, count: u16) -> Value {
    let (mut changed, dest) = (transform.clone(), transform["dest"].as_str().unwrap_or_default());
    if let Some(found) = partitions_in(transform) {
        changed["dest"] = dest.replace(&format!("partition({found},"), &format!("partition({count},")).into();
    }
    changed
}

impl Bus {
    /// Divides the streams into as many partitions as the settings say, if they are there and have another number.
    ///
    /// # Errors
    /// [`Error::Partitions`] while a node delivers or anything waits; else when the server refuses or does not answer.
    pub(super) async fn repartition(&self) -> Result<Option<Change>, Error> {
        let Some(before) = self.ask_of_one(&info(MESSAGES)).await? else { return Ok(None) };
        let wanted = self.partition_count();
        let Some(found) = partitions_in(&before["config"]["subject_transform"]).filter(|found| *found != wanted) else {
            return Ok(None);
        };
        let refused = |why| Error::Partitions { found, wanted, why };
        if let Some((name, _)) = self.members().await?.first() {
            return Err(refused(format!("the node {name} delivers, or did some seconds ago")));
        }
        for stream in STREAMS {
            self.ensure_empty(stream, refused).await?;
        }
        let mut after = before["config"].clone();
        after["subject_transform"] = with_partitions(&after["subject_transform"], wanted);
        self.update(&after).await?;
        // One may have been published meanwhile, to a partition as they were.
        if let Err(error) = self.ensure_empty(MESSAGES, refused).await {
            self.update(&before["config"]).await?;
            return Err(error);
        }
        self.drop_consumers(wanted..found).await?;
        Ok(Some(Change { what: format!("number of partitions from {found} to {wanted}"), created: false }))
    }

    /// How many partitions the streams have; `None`: there are none yet.
    pub(super) async fn partitions_found(&self) -> Result<Option<u16>, Error> {
        let messages = self.ask_of_one(&info(MESSAGES)).await?;
        Ok(messages.and_then(|found| partitions_in(&found["config"]["subject_transform"])))
    }

    async fn ensure_empty(&self, stream: &str, refused: impl Fn(String) -> Error) -> Result<(), Error> {
        let info = self.ask_of_one(&info(stream)).await?.unwrap_or_default();
        match info["state"]["messages"].as_u64().unwrap_or(0) {
            0 => Ok(()),
            waiting => Err(refused(format!("{stream} has {waiting} messages"))),
        }
    }

    async fn drop_consumers(&self, partitions: Range<u16>) -> Result<(), Error> {
        for partition in partitions {
            for work in [Work::Message, Work::Retry, Work::Result] {
                let (stream, consumer) = work.consumer(partition);
                // It may be gone already.
                self.ask_of_one(&format!("CONSUMER.DELETE.{stream}.{consumer}")).await?;
            }
        }
        Ok(())
    }

    async fn update(&self, config: &Value) -> Result<(), Error> {
        let request = self.context.request(format!("STREAM.UPDATE.{MESSAGES}"), config);
        let answer: Value = request.await.map_err(Error::api)?;
        answer["error"]["description"].as_str().map_or(Ok(()), |text| Err(Error::Api(text.to_owned())))
    }
}

fn info(stream: &str) -> String {
    format!("STREAM.INFO.{stream}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_number_is_read_and_replaced() {
        let transform = json!({"src": "a.*.*", "dest": "a.{{partition(8,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"});
        assert_eq!(partitions_in(&transform), Some(8));
        let changed = with_partitions(&transform, 16);
        assert_eq!(changed, json!({"src": "a.*.*", "dest": "a.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"}));
        assert_eq!(partitions_in(&Value::Null), None);
    }
}
