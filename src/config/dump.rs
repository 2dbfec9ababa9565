//! The settings in force.

use std::fmt::Write;

use super::{Loaded, defaults::keys};

/// The settings as TOML that can be loaded again: each value with its origin, secrets masked.
pub fn dump(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys() {
        if key.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = key.section;
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let dotted = key.dotted();
        let name = key.name;
        let shown = loaded.shown.get(&dotted);
        let _ = match shown.zip(loaded.origins.get(&dotted)) {
            Some((value, origin)) => writeln!(text, "{name} = {value} # {origin}"),
            None => writeln!(text, "# {name} is not set"),
        };
    }
    text
}
