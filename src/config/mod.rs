//! Typed settings, their defaults and limits.
//!
//! `config/default.toml` is both the documentation and the defaults. Over it go, in this order: the
//! file given with `--config`, variables named `WAHOOK__SECTION__KEY`, flags. Whatever is wrong is
//! reported at once, each error with its key, its source and its remedy.
//!
//! The way of a value: `defaults` lists the keys there are, `merge` decides which source wins,
//! `read` turns the winner into a typed value within its bounds, `build` names type and bounds of
//! each key, and `check` compares keys with each other. `dump` shows what came of it,
//! `defaults::reference` writes `docs/configuration.md`.
//!
//! A new key needs a line in `settings`, one in `build`, and its place in `config/default.toml`;
//! tests find what was forgotten. No value is ever repeated in an error, so that no secret gets
//! into a log by a typo.

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

use std::{collections::BTreeMap, path::PathBuf};

pub use defaults::reference;
pub use dump::dump;
pub use error::{Error, Errors, Origin};
pub use settings::*;

/// Where settings come from, beside the defaults.
#[derive(Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment; names that are not ours are passed over.
    pub env: Vec<(String, String)>,
    /// Dotted keys and their values.
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

/// Settings that hold together, and who set them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the rooms read.
    pub config: Config,
    /// By dotted key: where its value came from. Optional keys that nobody set are missing.
    pub origins: BTreeMap<String, Origin>,
    /// By dotted key: the value as TOML, secrets already masked.
    shown: BTreeMap<String, String>,
}

/// Merges the sources over the defaults.
///
/// # Errors
/// Everything that is wrong with them, at once.
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
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    let origins = values
        .into_iter()
        .filter(|(key, _)| shown.contains_key(key));
    Ok(Loaded {
        config,
        origins: origins.map(|(key, value)| (key, value.origin)).collect(),
        shown,
    })
}

impl Config {
    /// See [`load`], which also tells where each value came from.
    ///
    /// # Errors
    /// Everything that is wrong with the sources, at once.
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
