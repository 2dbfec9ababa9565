//! Typed settings, their defaults and limits.
//!
//! `config/default.toml` contains both the documentation and the defaults. These override it, in
//! this order: the file given with `--config`, variables named `WAHOOK__SECTION__KEY`, flags. All
//! errors are reported at once, each with its key, its source and its remedy.
//!
//! `defaults` lists the keys, `merge` decides which source wins, `variables` finds variables that
//! are misspelt, `read` parses a value and checks its bounds, `build` has the type and the bounds
//! of each key, and `check` compares keys with each other. `dump` shows the result, and
//! `defaults::reference` generates `docs/configuration.md`.
//!
//! A new key needs a line in `settings`, one in `build`, and a place in `config/default.toml`.
//! Tests find a missing one. No error repeats a value, so that a typo cannot put a secret into a
//! log.

mod build;
mod check;
mod defaults;
mod dump;
mod error;
mod merge;
mod read;
mod settings;
#[cfg(test)]
mod tests;
mod units;
mod variables;

use std::{collections::BTreeMap, path::PathBuf};

pub use defaults::reference;
pub use dump::dump;
pub use error::{Error, Errors, Origin};
pub use settings::*;
pub use units::{parse_size, show_size};

/// The sources of settings, besides the defaults.
#[derive(Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment. Variables with other prefixes are ignored.
    pub env: Vec<(String, String)>,
    /// Dotted keys with their values.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The process's own environment, the given file and flags.
    pub fn from_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let env = std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        Self { file, env, flags }
    }
}

/// Valid settings with their origins.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings as the rooms read them.
    pub config: Config,
    /// The origin of each dotted key. Optional keys that are not set are missing.
    pub origins: BTreeMap<String, Origin>,
    /// Lines about variables that look like settings, are none, and are ignored.
    pub ignored: Vec<String>,
    /// The value of each dotted key as TOML, secrets already masked.
    shown: BTreeMap<String, String>,
}

/// Merges the sources over the defaults.
///
/// # Errors
/// All errors at once.
pub fn load(sources: &Sources) -> Result<Loaded, Errors> {
    let (values, mut errors) = merge::merge(sources);
    let mut reader = read::Reader::new(&values);
    let config = build::build(&mut reader);
    let read::Findings {
        errors: invalid,
        shown,
        ..
    } = reader.finish();
    errors.extend(invalid);
    let cross = check::check(&config, &values, &errors);
    errors.extend(cross);
    errors.extend(variables::misspelt(&sources.env));
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    let origins = values
        .into_iter()
        .filter(|(key, _)| shown.contains_key(key));
    Ok(Loaded {
        config,
        origins: origins.map(|(key, value)| (key, value.origin)).collect(),
        ignored: variables::ignored(&sources.env),
        shown,
    })
}

impl Config {
    /// Like [`load`], without the origins.
    ///
    /// # Errors
    /// All errors at once.
    pub fn load(sources: &Sources) -> Result<Self, Errors> {
        load(sources).map(|loaded| loaded.config)
    }
}

/// The defaults.
impl Default for Config {
    fn default() -> Self {
        Self::load(&Sources::default()).expect("a test loads config/default.toml")
    }
}
