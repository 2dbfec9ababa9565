//! The migrations, as `cql/` has them, and how what was applied compares with them.

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Cassandra,
    Scylla,
}

impl Server {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cassandra => "Cassandra",
            Self::Scylla => "ScyllaDB",
        }
    }
}

/// One file of `cql/`. The statements of a file that was ever applied are never changed again: what
/// follows goes into a new one. Comments may be changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Migration {
    pub(super) component: &'static str,
    pub(super) version: i32,
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// What `schema_migrations` records. A test compares it with the statements.
    pub(super) sha256: &'static str,
}

/// In the order of applying: first what both servers know.
pub(super) const MIGRATIONS: [Migration; 4] = [
    Migration {
        component: "common",
        version: 1,
        name: "audit",
        text: include_str!("../../../cql/common/0001_audit.cql"),
        sha256: "1808e7a82f16fb1ccd236bd8032e784db088fd97c562c7053afed31bfbb98047",
    },
    Migration {
        component: "common",
        version: 2,
        name: "webhooks",
        text: include_str!("../../../cql/common/0002_webhooks.cql"),
        sha256: "892fad2828a14e8d62f7d36944572e7b15924beb1bff541b7a7b7376a3de6b22",
    },
    Migration {
        component: "common",
        version: 3,
        name: "last_success",
        text: include_str!("../../../cql/common/0003_last_success.cql"),
        sha256: "e0ca63b526fe6e2d42e866aa8bd1bdfcddc247d7844d64a402ecf9dcf34d9122",
    },
    Migration {
        component: "scylla",
        version: 1,
        name: "options",
        text: include_str!("../../../cql/scylla/0001_options.cql"),
        sha256: "e3e5bdf761c1043bb1f4addc07834332a3a1b5dd5092c55cfb70d51f60b0636c",
    },
];

/// Where the record of what was applied is. Itself no migration, or nothing could record the first.
pub(super) const RECORD: &str = "
    CREATE TABLE IF NOT EXISTS schema_migrations (
        component text,
        version int,
        name text,
        sha256 text,
        applied_at timestamp,
        PRIMARY KEY (component, version)
    )";

impl Migration {
    /// As operators know it: `common/0001_audit`.
    pub(super) fn label(&self) -> String {
        format!("{}/{:04}_{}", self.component, self.version, self.name)
    }

    fn is_for(&self, server: Server) -> bool {
        server == Server::Scylla || self.component != "scylla"
    }

    pub(super) fn statements(&self) -> Vec<String> {
        statements(self.text)
    }
}

/// A row of `schema_migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) component: String,
    pub(super) version: i32,
    pub(super) sha256: String,
}

/// What is to be applied, in order.
///
/// # Errors
/// When a file is not what was applied under its name.
pub(super) fn missing(
    applied: &[Applied],
    server: Server,
) -> Result<Vec<&'static Migration>, String> {
    let mut missing = Vec::new();
    for migration in MIGRATIONS.iter().filter(|one| one.is_for(server)) {
        let known = |one: &&Applied| {
            (one.component.as_str(), one.version) == (migration.component, migration.version)
        };
        match applied.iter().find(known) {
            Some(one) if one.sha256 == migration.sha256 => {}
            Some(_) => {
                let label = migration.label();
                return Err(format!(
                    "migration {label} differs from the one that was applied under this name"
                ));
            }
            None => missing.push(migration),
        }
    }
    Ok(missing)
}

/// Statements without comments and the semicolons between them. Semicolons and dashes in quotes are
/// left alone.
fn statements(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut quote = None;
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match (quote, letter) {
            (None, '-') if rest.peek() == Some(&'-') => {
                while rest.next_if(|next| *next != '\n').is_some() {}
            }
            (None, ';') => all.push(std::mem::take(&mut current)),
            (None, '\'' | '"') => {
                quote = Some(letter);
                current.push(letter);
            }
            // A doubled quote ends and begins again: the same.
            (Some(open), close) if open == close => {
                quote = None;
                current.push(letter);
            }
            _ => current.push(letter),
        }
    }
    all.push(current);
    all.iter()
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect()
}

/// Table and column of `ALTER TABLE … ADD …`, which no server lets be said twice.
pub(super) fn added_column(statement: &str) -> Option<(String, String)> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let [alter, table, name, add, column, ..] = words[..] else {
        return None;
    };
    let is_add = [(alter, "ALTER"), (table, "TABLE"), (add, "ADD")];
    is_add
        .iter()
        .all(|(word, known)| word.eq_ignore_ascii_case(known))
        .then(|| (name.to_owned(), column.to_owned()))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn applied(migration: &Migration) -> Applied {
        Applied {
            component: migration.component.to_owned(),
            version: migration.version,
            sha256: migration.sha256.to_owned(),
        }
    }

    #[test]
    fn text_is_split_where_statements_end_and_nowhere_else() {
        let text =
            "-- one; two\nCREATE x 'a;b--c''d'; -- end\n\nALTER \"q;r\" -- and; so on\n WITH y;;\n";
        assert_eq!(
            statements(text),
            ["CREATE x 'a;b--c''d'", "ALTER \"q;r\" \n WITH y"]
        );
        assert_eq!(statements(" -- nothing"), [""; 0]);
    }

    #[test]
    fn files_hold_what_may_be_said_twice_and_nothing_that_takes_away() {
        for migration in &MIGRATIONS {
            for statement in migration.statements() {
                let again = statement.starts_with("CREATE TABLE IF NOT EXISTS ")
                    || statement.starts_with("ALTER TABLE ") && statement.contains(" WITH ")
                    || added_column(&statement).is_some();
                assert!(again, "{}: {statement}", migration.label());
                assert!(
                    !statement.contains("DROP"),
                    "{}: {statement}",
                    migration.label()
                );
            }
        }
        let added = Some(("events".to_owned(), "shard".to_owned()));
        assert_eq!(added_column("alter table events add shard int"), added);
        assert_eq!(
            added_column("ALTER TABLE events WITH comment = 'ADD'"),
            None
        );
    }

    #[test]
    fn every_file_in_the_folder_is_known_and_numbered_without_gaps() {
        for component in ["common", "scylla"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("cql")
                .join(component);
            let mut files: Vec<_> = std::fs::read_dir(folder)
                .expect("a folder")
                .map(|file| {
                    file.expect("a file")
                        .file_name()
                        .into_string()
                        .expect("text")
                })
                .collect();
            files.sort();
            let known = MIGRATIONS.iter().filter(|one| one.component == component);
            let labels: Vec<_> = known
                .map(|one| format!("{}.cql", &one.label()[component.len() + 1..]))
                .collect();
            assert_eq!(labels, files);
            for (place, one) in MIGRATIONS
                .iter()
                .filter(|one| one.component == component)
                .enumerate()
            {
                assert_eq!(usize::try_from(one.version), Ok(place + 1));
            }
        }
    }

    /// A changed statement is never applied where the file was applied before. The `sha256` of a
    /// new file is that of its statements; the older ones have that of their first text.
    #[test]
    fn statements_of_published_files_do_not_change() {
        const PUBLISHED: [(&str, &str); 4] = [
            (
                "common/0001_audit",
                "4332f98c0392014e7f4ba600e42c8902394107740b0873f582d3532280685337",
            ),
            (
                "common/0002_webhooks",
                "67a107894b150556a6d00307891042d56dc777fa02f21e74cbac702c0d8dbd93",
            ),
            (
                "common/0003_last_success",
                "334c8f4e07b17a0047da4fe04c8c795e8f1e31ba66fac1af06eaea211594d49e",
            ),
            (
                "scylla/0001_options",
                "73ed1f942f92215a1ce9841be15ea3e1d4dce5989be844876f615fe0ec79c27a",
            ),
        ];
        for (migration, (label, expected)) in MIGRATIONS.iter().zip(PUBLISHED) {
            let words = |statement: &String| {
                let words: Vec<_> = statement.split_whitespace().collect();
                words.join(" ")
            };
            let statements: Vec<_> = migration.statements().iter().map(words).collect();
            let digest = Sha256::digest(statements.join("\n"));
            let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                (migration.label().as_str(), found.as_str()),
                (label, expected)
            );
        }
    }

    #[test]
    fn what_was_applied_is_compared_by_checksum() {
        let all: Vec<_> = MIGRATIONS.iter().map(applied).collect();
        assert_eq!(missing(&all, Server::Scylla), Ok(vec![]));
        assert_eq!(
            missing(&all[..2], Server::Cassandra),
            Ok(vec![&MIGRATIONS[2]])
        );
        assert_eq!(missing(&all[..3], Server::Scylla), Ok(vec![&MIGRATIONS[3]]));
        assert_eq!(missing(&all[..3], Server::Cassandra), Ok(vec![]));
        let mut changed = all.clone();
        changed[1].sha256 = "0".repeat(64);
        let error = missing(&changed, Server::Cassandra).expect_err("changed");
        assert!(error.contains("common/0002_webhooks"), "{error}");
        // A newer wahook's: additive, so an older one can live with it.
        changed = all;
        changed.push(Applied {
            component: "common".to_owned(),
            version: 99,
            sha256: String::new(),
        });
        assert_eq!(missing(&changed, Server::Scylla), Ok(vec![]));
    }
}
