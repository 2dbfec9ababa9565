//! Whether each stream and each consumer has all its copies, and those have all that they should.
//!
//! Without a complete copy on another server, what a stream has is lost with its leader. A copy is
//! incomplete while its server is away, and for some seconds after it was made.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;

use super::{
    Bus, Error,
    declare::{Declared, declared},
    patience::patiently,
};

const PAUSE: Duration = Duration::from_millis(500);
/// A server that the leader has not heard of for so long is away. The others speak each second.
const AWAY_AFTER: Duration = Duration::from_secs(5);
/// A server that is away for so long is not waited for. A new leader, or one with a new copy, has
/// not heard of the others at first.
const WAITED_FOR: Duration = Duration::from_secs(10);

/// A copy that has not all that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncompleteCopy {
    /// Like `stream WA_MSG`.
    pub what: String,
    /// What is wrong with it.
    pub fault: CopyFault,
}

/// Why a copy does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFault {
    /// So many exist, of so many.
    Missing(usize, usize),
    /// Its server does not speak.
    Away(String),
    /// On this server it lacks so many changes, as far as the leader knows.
    Behind(String, u64),
}

impl IncompleteCopy {
    /// Whether its server does not speak: it cannot be waited for.
    fn is_away(&self) -> bool {
        matches!(self.fault, CopyFault::Away(_))
    }
}

impl fmt::Display for IncompleteCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.fault {
            CopyFault::Missing(found, wanted) => {
                write!(f, "{what}: {found} of {wanted} copies exist")
            }
            CopyFault::Away(server) => write!(f, "{what}: {server}, which has a copy, is away"),
            CopyFault::Behind(server, lag) => {
                write!(f, "{what}: its copy on {server} is {lag} changes behind")
            }
        }
    }
}

impl Bus {
    /// The copies that are incomplete, and stay so for this long. Returns earlier when all that are
    /// left are on servers that are away.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn incomplete_copies(
        &self,
        patience: Duration,
    ) -> Result<Vec<IncompleteCopy>, Error> {
        let end = Instant::now() + patience;
        let mut left = declared(&self.settings);
        let mut only_away_since = None;
        loop {
            let mut incomplete = Vec::new();
            let mut asked_again = Vec::new();
            for one in left {
                let faults = self.faults_of(&one).await?;
                if !faults.is_empty() {
                    incomplete.extend(faults);
                    asked_again.push(one);
                }
            }
            let now = Instant::now();
            if incomplete.iter().all(IncompleteCopy::is_away) {
                let since = *only_away_since.get_or_insert(now);
                if now.duration_since(since) >= WAITED_FOR {
                    return Ok(incomplete);
                }
            } else {
                only_away_since = None;
            }
            if incomplete.is_empty() || now >= end {
                return Ok(incomplete);
            }
            left = asked_again;
            sleep(PAUSE).await;
        }
    }

    async fn faults_of(&self, declared: &Declared) -> Result<Vec<IncompleteCopy>, Error> {
        let found = patiently(async || self.found(declared).await).await?;
        let found = found.unwrap_or_default();
        let faults = faults(&found["cluster"], self.settings.replicas);
        let named = faults.into_iter().map(|fault| IncompleteCopy {
            what: declared.what.clone(),
            fault,
        });
        Ok(named.collect())
    }
}

/// What the leader says of the others.
fn faults(cluster: &Value, wanted: usize) -> Vec<CopyFault> {
    let others = cluster["replicas"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    // The leader's own copy is complete, and a server that is alone has no list.
    let found = others.len() + 1;
    if found < wanted {
        return vec![CopyFault::Missing(found, wanted)];
    }
    others.iter().filter_map(fault).collect()
}

fn fault(other: &Value) -> Option<CopyFault> {
    let server = other["name"].as_str().unwrap_or_default().to_owned();
    let is_current = other["current"] == true;
    let silence = Duration::from_nanos(other["active"].as_u64().unwrap_or(0));
    let is_unheard = silence.is_zero() && !is_current;
    if other["offline"] == true || silence >= AWAY_AFTER || is_unheard {
        return Some(CopyFault::Away(server));
    }
    (!is_current).then(|| CopyFault::Behind(server, other["lag"].as_u64().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn copy_that_is_away_behind_or_missing_is_told() {
        let server = |name: &str, rest: Value| {
            let mut one = json!({"name": name, "current": true, "active": 500_000_000});
            one.as_object_mut()
                .expect("an object")
                .extend(rest.as_object().expect("an object").clone());
            one
        };
        let well = server("n2", json!({}));
        let behind = server("n3", json!({"current": false, "lag": 7}));
        let silent = server("n3", json!({"current": false, "active": 9_000_000_000_u64}));
        let unheard = server("n3", json!({"current": false, "active": 0}));
        let offline = server("n3", json!({"offline": true}));
        let away = || vec![CopyFault::Away("n3".to_owned())];
        for (others, expected) in [
            (json!([well, well]), vec![]),
            (
                json!([well, behind]),
                vec![CopyFault::Behind("n3".to_owned(), 7)],
            ),
            (json!([well, silent]), away()),
            (json!([well, unheard]), away()),
            (json!([well, offline]), away()),
            (json!([well]), vec![CopyFault::Missing(2, 3)]),
            (Value::Null, vec![CopyFault::Missing(1, 3)]),
        ] {
            let cluster = json!({"leader": "n1", "replicas": others});
            assert_eq!(faults(&cluster, 3), expected, "{cluster}");
        }
        assert_eq!(faults(&Value::Null, 1), [], "a server that is alone");
    }
}
