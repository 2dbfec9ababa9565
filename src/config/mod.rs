//! Typed settings, their defaults and limits.
//!
//! `config/default.toml` is both the documentation and the defaults. Over it go, in this order: the file given with
//! `--config`, variables named `WAHOOK__SECTION__KEY`, flags. Whatever is wrong is reported at once, each error with
//! its key, its source and its remedy.

mod settings;

pub use settings::*;
