//! Merges the sources into one flat map of dotted keys. A later source overrides an earlier one.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    Sources,
    defaults::{self, keys, variable},
    error::{Error, Origin},
};

/// A value as a source has it.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    /// From a file, with TOML's types.
    Toml(toml::Value),
    /// From a variable or a flag, where every value is text.
    Text(String),
}

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// The values by dotted key; known keys only.
pub(super) type Values = BTreeMap<String, Value>;

const PREFIX: &str = "WAHOOK__";
const DELIVER_TIMEOUT: &str = "deliver.timeout";
/// The name of the deadline in the older service, in milliseconds.
const OLD_TIMEOUT: &str = "WEBHOOK_TIMEOUT";

struct Merge {
    known: Vec<String>,
    values: Values,
    errors: Vec<Error>,
}

pub(super) fn merge(sources: &Sources) -> (Values, Vec<Error>) {
    let known = keys().iter().map(defaults::Key::dotted).collect();
    let mut merge = Merge {
        known,
        values: Values::new(),
        errors: Vec::new(),
    };
    merge.toml(defaults::TEXT, &Origin::Default);
    if let Some(path) = &sources.file {
        merge.file(path);
    }
    merge.env(&sources.env);
    for (key, value) in &sources.flags {
        merge.set(key, Raw::Text(value.clone()), Origin::Flag(key.clone()));
    }
    (merge.values, merge.errors)
}

impl Merge {
    fn set(&mut self, key: &str, raw: Raw, origin: Origin) {
        if self.known.iter().any(|known| known == key) {
            self.values.insert(key.into(), Value { raw, origin });
        } else {
            self.unknown(key, origin);
        }
    }

    fn unknown(&mut self, key: &str, origin: Origin) {
        let near = nearest(key, &self.known).map(|near| match origin {
            Origin::Env(_) => variable(near),
            _ => near.to_owned(),
        });
        let remedy = near.map(|near| format!("did you mean {near}?"));
        let remedy = remedy.unwrap_or_else(|| "docs/configuration.md lists all of them".into());
        self.errors.push(Error::Unknown {
            key: key.escape_debug().to_string(),
            origin,
            remedy,
        });
    }

    fn file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        match fs::read_to_string(path) {
            Ok(text) => self.toml(&text, &origin),
            Err(error) => self.errors.push(Error::Unreadable {
                origin,
                reason: error.to_string(),
            }),
        }
    }

    fn toml(&mut self, text: &str, origin: &Origin) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                // Its Display would quote the line, which may contain a secret.
                let before = error
                    .span()
                    .and_then(|span| text.get(..span.start))
                    .unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let reason = error.message().to_owned();
                self.errors.push(Error::Syntax {
                    origin: origin.clone(),
                    line,
                    reason,
                });
                return;
            }
        };
        let sections = |known: &[String], name: &str| {
            known.iter().any(|key| key.split('.').next() == Some(name))
        };
        for (section, value) in table {
            match value {
                toml::Value::Table(keys) if sections(&self.known, &section) => {
                    for (key, value) in keys {
                        self.set(
                            &format!("{section}.{key}"),
                            Raw::Toml(value),
                            origin.clone(),
                        );
                    }
                }
                _ => self.unknown(&section, origin.clone()),
            }
        }
    }

    fn env(&mut self, env: &[(String, String)]) {
        for (name, value) in env {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let key = rest.replace("__", ".").to_lowercase();
            let origin = Origin::Env(name.clone());
            if variable(&key) == *name {
                self.set(&key, Raw::Text(value.clone()), origin);
            } else {
                self.unknown(&key, origin);
            }
        }
        let old = env.iter().find(|(name, _)| name == OLD_TIMEOUT);
        let own = variable(DELIVER_TIMEOUT);
        if let Some((name, value)) = old.filter(|_| !env.iter().any(|(name, _)| *name == own)) {
            let origin = Origin::Env(name.clone());
            match value.parse::<u64>() {
                Ok(millis) => self.set(DELIVER_TIMEOUT, Raw::Text(format!("{millis}ms")), origin),
                Err(_) => self.errors.push(Error::Invalid {
                    key: DELIVER_TIMEOUT.into(),
                    origin,
                    expected: format!("a whole number of milliseconds, or use {own}, like 10s"),
                }),
            }
        }
    }
}

/// The known key with the smallest edit distance if that is small, else a key of this name in
/// another section.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    // A long text is not a typo, and the cost grows with the square of its length.
    let key = Some(key).filter(|key| key.len() <= 100)?;
    let (distance, near) = known
        .iter()
        .map(|known| (distance(key, known), known))
        .min()?;
    let name = key.rsplit('.').next();
    let elsewhere = || known.iter().find(|known| known.rsplit('.').next() == name);
    if distance <= 3 {
        Some(near)
    } else {
        elsewhere().map(String::as_str)
    }
}

/// The Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
