//! The migrations, as `cql/` has them, and how what was applied compares with them.

use sha2::{Digest, Sha256};

/// One file of `cql/`. A file that was ever applied is never changed again: what follows goes into
/// a new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Migration {
    pub(super) component: &'static str,
    pub(super) version: i32,
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// In the order of applying: first what both servers know.
pub(super) const MIGRATIONS: [Migration; 4] = [
    Migration {
        component: "common",
        version: 1,
        name: "audit",
        text: include_str!("../../../cql/common/0001_audit.cql"),
    },
    Migration {
        component: "common",
        version: 2,
        name: "webhooks",
        text: include_str!("../../../cql/common/0002_webhooks.cql"),
    },
    Migration {
        component: "common",
        version: 3,
        name: "last_success",
        text: include_str!("../../../cql/common/0003_last_success.cql"),
    },
    Migration {
        component: "scylla",
        version: 1,
        name: "options",
        text: include_str!("../../../cql/scylla/0001_options.cql"),
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

    pub(super) fn checksum(&self) -> String {
        Sha256::digest(self.text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
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
    is_scylla: bool,
) -> Result<Vec<&'static Migration>, String> {
    let mut missing = Vec::new();
    for migration in MIGRATIONS
        .iter()
        .filter(|one| is_scylla || one.component != "scylla")
    {
        let known = |one: &&Applied| {
            (one.component.as_str(), one.version) == (migration.component, migration.version)
        };
        match applied.iter().find(known) {
            Some(one) if one.sha256 == migration.checksum() => {}
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
    use super::*;

    fn applied(migration: &Migration) -> Applied {
        Applied {
            component: migration.component.to_owned(),
            version: migration.version,
            sha256: migration.checksum(),
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

    #[test]
    fn what_was_applied_is_compared_by_checksum() {
        let all: Vec<_> = MIGRATIONS.iter().map(applied).collect();
        assert_eq!(missing(&all, true), Ok(vec![]));
        assert_eq!(missing(&all[..2], false), Ok(vec![&MIGRATIONS[2]]));
        assert_eq!(missing(&all[..3], true), Ok(vec![&MIGRATIONS[3]]));
        assert_eq!(missing(&all[..3], false), Ok(vec![]));
        let mut changed = all.clone();
        changed[1].sha256 = "0".repeat(64);
        let error = missing(&changed, false).expect_err("changed");
        assert!(error.contains("common/0002_webhooks"), "{error}");
        // A newer wahook's: additive, so an older one can live with it.
        changed = all;
        changed.push(Applied {
            component: "common".to_owned(),
            version: 99,
            sha256: String::new(),
        });
        assert_eq!(missing(&changed, true), Ok(vec![]));
    }
}
