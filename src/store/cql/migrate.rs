//! Bringing the schema up to date: by one at a time, who is told to; never by a role that serves.

use std::{collections::HashMap, fmt, time::Duration};

use scylla::{client::session::Session, statement::Statement, value::CqlTimestamp};

use super::{
    schema::{self, Applied, Migration, Server},
    session::{Profiles, connect},
};
use crate::{config, model::Timestamp, store::Error};

const DAY_SECONDS: u64 = 86_400;
/// Tables of hints live a day longer than what they point to.
const INDEX_TTL_EXTRA_SECONDS: u64 = DAY_SECONDS;
/// Time windows per table; ScyllaDB refuses more than 50.
const WINDOWS_MAX: u64 = 45;
const TABLES: [&str; 8] = [
    "events",
    "event_days",
    "events_attention",
    "dead_letters",
    "dead_letter_days",
    "webhook_state",
    "webhook_failures",
    "webhook_stats",
];

/// One thing to do to the schema.
#[derive(Debug)]
pub struct Step(Kind);

#[derive(Debug)]
enum Kind {
    Keyspace {
        statement: String,
    },
    File(&'static Migration),
    Retention {
        table: &'static str,
        from_seconds: i32,
        to_seconds: i32,
        statement: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Keyspace { statement } => f.write_str(statement),
            Kind::File(migration) => f.write_str(&migration.label()),
            Kind::Retention {
                table,
                from_seconds,
                to_seconds,
                ..
            } => {
                write!(
                    f,
                    "{table}: time to live {from_seconds} s becomes {to_seconds} s"
                )
            }
        }
    }
}

/// A connection that may change the schema.
pub struct Migrator {
    session: Session,
    keyspace: String,
    retention: Duration,
    server: Server,
}

impl Migrator {
    /// Connects and asks what server it is.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn connect(settings: &config::Cql, retention: Duration) -> Result<Self, Error> {
        let session = connect(settings, &Profiles::new(settings)).await?;
        let server = server(&session).await?;
        Ok(Self {
            session,
            keyspace: settings.keyspace.clone(),
            retention,
            server,
        })
    }

    /// What kind of server it is.
    pub fn server(&self) -> &'static str {
        self.server.as_str()
    }

    /// What is to be done, in order; nothing when the schema is as it should be.
    ///
    /// # Errors
    /// When a file differs from what was applied, the keyspace is missing and `replication` is
    /// `None`, or nobody answers.
    pub async fn plan(&self, replication: Option<u8>) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        let mut applied = Vec::new();
        if keyspace_exists(&self.session, &self.keyspace).await? {
            self.use_keyspace().await?;
            applied = applied_to(&self.session, &self.keyspace).await?;
        } else if let Some(copies) = replication {
            let statement = format!(
                "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
                 {{'class': 'NetworkTopologyStrategy', 'replication_factor': {copies}}}",
                self.keyspace
            );
            steps.push(Step(Kind::Keyspace { statement }));
        } else {
            return Err(no_keyspace(&self.keyspace));
        }
        let missing = schema::missing(&applied, self.server).map_err(Error::open)?;
        steps.extend(
            missing
                .into_iter()
                .map(|migration| Step(Kind::File(migration))),
        );
        steps.extend(self.retention_steps().await?);
        Ok(steps)
    }

    /// Does one step and waits until all nodes know. Doing it again does no harm.
    ///
    /// # Errors
    /// When a node refuses or does not answer.
    pub async fn apply(&self, step: &Step) -> Result<(), Error> {
        match &step.0 {
            Kind::Keyspace { statement } => {
                self.change(statement).await?;
                self.use_keyspace().await
            }
            Kind::File(migration) => self.file(migration).await,
            Kind::Retention { statement, .. } => self.change(statement).await,
        }
    }

    async fn file(&self, migration: &Migration) -> Result<(), Error> {
        self.change(schema::RECORD).await?;
        for statement in migration.statements() {
            if let Some((table, column)) = schema::added_column(&statement)
                && self.has_column(&table, &column).await?
            {
                continue;
            }
            self.change(&statement).await?;
        }
        self.session
            .await_schema_agreement()
            .await
            .map_err(Error::failed)?;
        let now = CqlTimestamp(Timestamp::from_system(std::time::SystemTime::now()).millis());
        let record = "INSERT INTO schema_migrations (component, version, name, sha256, \
            applied_at) VALUES (?, ?, ?, ?, ?)";
        let row = (
            migration.component,
            migration.version,
            migration.name,
            migration.sha256,
            now,
        );
        self.session
            .query_unpaged(record, row)
            .await
            .map(drop)
            .map_err(Error::failed)
    }

    /// The driver waits for the agreement of all nodes after each change.
    async fn change(&self, statement: &str) -> Result<(), Error> {
        self.session
            .query_unpaged(Statement::new(statement), ())
            .await
            .map(drop)
            .map_err(Error::failed)
    }

    async fn use_keyspace(&self) -> Result<(), Error> {
        self.session
            .use_keyspace(&self.keyspace, false)
            .await
            .map_err(Error::failed)
    }

    async fn has_column(&self, table: &str, column: &str) -> Result<bool, Error> {
        let query = "SELECT column_name FROM system_schema.columns \
                     WHERE keyspace_name = ? AND table_name = ? AND column_name = ?";
        let answer = self
            .session
            .query_unpaged(query, (&self.keyspace, table, column))
            .await
            .map_err(Error::failed)?;
        Ok(answer.into_rows_result().map_err(Error::failed)?.rows_num() > 0)
    }

    /// Tables whose time to live is not what the settings say. What was written before keeps its
    /// own.
    async fn retention_steps(&self) -> Result<Vec<Step>, Error> {
        let present = times_to_live(&self.session, &self.keyspace).await?;
        // Tables that are still to be made are made with the default.
        let mut steps = Vec::new();
        for table in TABLES {
            let wanted = wanted_seconds(table, self.retention);
            let default = wanted_seconds(table, default_retention());
            let from_seconds = present.get(table).copied().unwrap_or(default);
            if from_seconds != wanted {
                let windows = if table == "events" {
                    windows(self.retention)
                } else {
                    String::new()
                };
                let statement =
                    format!("ALTER TABLE {table} WITH default_time_to_live = {wanted}{windows}");
                steps.push(Step(Kind::Retention {
                    table,
                    from_seconds,
                    to_seconds: wanted,
                    statement,
                }));
            }
        }
        Ok(steps)
    }
}

/// What the files say.
fn default_retention() -> Duration {
    Duration::from_secs(30 * DAY_SECONDS)
}

fn wanted_seconds(table: &str, retention: Duration) -> i32 {
    let longer = if table == "events" {
        0
    } else {
        INDEX_TTL_EXTRA_SECONDS
    };
    i32::try_from(retention.as_secs() + longer).unwrap_or(i32::MAX)
}

fn windows(retention: Duration) -> String {
    let days = retention
        .as_secs()
        .div_ceil(DAY_SECONDS)
        .div_ceil(WINDOWS_MAX)
        .max(1);
    format!(
        " AND compaction = {{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': \
         'DAYS', \
         'compaction_window_size': '{days}'}}"
    )
}

/// What a role that serves asks before it starts.
///
/// # Errors
/// [`ErrorKind::Open`](crate::store::ErrorKind::Open) when the schema is missing, behind or
/// changed: names the migration and the remedy.
pub(super) async fn check(
    session: &Session,
    keyspace: &str,
    retention: Duration,
) -> Result<(), Error> {
    if !keyspace_exists(session, keyspace).await? {
        return Err(no_keyspace(keyspace));
    }
    let applied = applied_to(session, keyspace).await?;
    let wrong = |what: String| Error::open(format!("keyspace {keyspace}: {what}"));
    let missing = schema::missing(&applied, server(session).await?).map_err(|error| {
        wrong(format!(
            "{error}: use the wahook that applied it, or restore the file"
        ))
    })?;
    if let Some(first) = missing.first() {
        let label = first.label();
        let count = missing.len();
        return Err(wrong(format!(
            "migration {label} is not applied ({count} missing in all): run `wahook migrate`"
        )));
    }
    let present = times_to_live(session, keyspace).await?;
    if let Some(seconds) = present
        .get("events")
        .filter(|seconds| **seconds != wanted_seconds("events", retention))
    {
        tracing::warn!(
            time_to_live_seconds = seconds,
            "the tables' time to live is not store.retention: run `wahook migrate`"
        );
    }
    Ok(())
}

fn no_keyspace(keyspace: &str) -> Error {
    Error::open(format!(
        "cql.keyspace {keyspace} does not exist: create it with the replication you want, or let \
         `wahook migrate --create-keyspace COPIES` do it"
    ))
}

async fn keyspace_exists(session: &Session, keyspace: &str) -> Result<bool, Error> {
    let query = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let answer = session
        .query_unpaged(query, (keyspace,))
        .await
        .map_err(Error::failed)?;
    Ok(answer.into_rows_result().map_err(Error::failed)?.rows_num() > 0)
}

/// ScyllaDB has a table that describes its own kind of tables.
async fn server(session: &Session) -> Result<Server, Error> {
    let query = "SELECT table_name FROM system_schema.tables \
                 WHERE keyspace_name = 'system_schema' AND table_name = 'scylla_tables'";
    let answer = session
        .query_unpaged(query, ())
        .await
        .map_err(Error::failed)?;
    let rows = answer.into_rows_result().map_err(Error::failed)?;
    Ok(if rows.rows_num() > 0 {
        Server::Scylla
    } else {
        Server::Cassandra
    })
}

async fn times_to_live(session: &Session, keyspace: &str) -> Result<HashMap<String, i32>, Error> {
    let query =
        "SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ?";
    let answer = session
        .query_unpaged(query, (keyspace,))
        .await
        .map_err(Error::failed)?;
    let rows = answer.into_rows_result().map_err(Error::failed)?;
    rows.rows::<(String, i32)>()
        .map_err(Error::failed)?
        .collect::<Result<_, _>>()
        .map_err(Error::failed)
}

async fn applied_to(session: &Session, keyspace: &str) -> Result<Vec<Applied>, Error> {
    if !times_to_live(session, keyspace)
        .await?
        .contains_key("schema_migrations")
    {
        return Ok(Vec::new());
    }
    let query = format!("SELECT component, version, sha256 FROM {keyspace}.schema_migrations");
    let answer = session
        .query_unpaged(query, ())
        .await
        .map_err(Error::failed)?;
    let rows = answer.into_rows_result().map_err(Error::failed)?;
    let rows = rows
        .rows::<(String, i32, String)>()
        .map_err(Error::failed)?;
    let applied = rows.map(|row| {
        row.map(|(component, version, sha256)| Applied {
            component,
            version,
            sha256,
        })
    });
    applied.collect::<Result<_, _>>().map_err(Error::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stay_few() {
        for (days, window) in [
            (1, 1),
            (30, 1),
            (45, 1),
            (46, 2),
            (90, 2),
            (365, 9),
            (1095, 25),
        ] {
            let statement = windows(Duration::from_secs(days * DAY_SECONDS));
            assert!(
                statement.contains(&format!("'compaction_window_size': '{window}'")),
                "{days}: {statement}"
            );
            assert!(days.div_ceil(window) <= 50);
        }
    }
}
