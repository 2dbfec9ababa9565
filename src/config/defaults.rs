//! `config/default.toml` as a list of documented keys, and the reference page generated from it.

use std::fmt::Write;

pub(super) const TEXT: &str = include_str!("../../config/default.toml");

/// One key of `config/default.toml`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// The lines of the comment above it.
    pub(super) comment: Vec<&'static str>,
    /// The value as written; an example for an optional key.
    pub(super) value: &'static str,
    /// Whether it is commented out and so has no default.
    pub(super) optional: bool,
}

impl Key {
    pub(super) fn dotted(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// The variable that sets a dotted key.
pub(super) fn variable(dotted: &str) -> String {
    format!("WAHOOK__{}", dotted.replace('.', "__").to_uppercase())
}

/// All keys in the order of the file. `# text` is a comment, `#key = value` an optional key.
pub(super) fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    let mut section = "";
    let mut comment = Vec::new();
    for line in TEXT.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
            comment.clear();
        } else if let Some((name, value)) = line.split_once(" = ") {
            let optional = name.starts_with('#');
            let comment = std::mem::take(&mut comment);
            keys.push(Key {
                section,
                name: name.trim_start_matches('#'),
                comment,
                value,
                optional,
            });
        }
    }
    keys
}

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n<!-- Generated from config/default.toml; see the end. -->\n\n",
    );
    for line in TEXT.lines().take_while(|line| line.starts_with('#')) {
        page.push_str(line.trim_start_matches('#').trim_start());
        page.push('\n');
    }
    let mut section = "";
    for key in keys() {
        if key.section != section {
            section = key.section;
            let _ = write!(page, "\n## {section}\n");
        }
        let dotted = key.dotted();
        let default = if key.optional {
            "Not set; example"
        } else {
            "Default"
        };
        let _ = write!(page, "\n### `{dotted}`\n\n{}\n\n", key.comment.join("\n"));
        let _ = writeln!(
            page,
            "{default} `{}`, variable `{}`",
            key.value,
            variable(&dotted)
        );
    }
    page.push_str(
        "\n---\n\nTo change this page, change `config/default.toml` and run `UPDATE_DOCS=1 cargo \
         test --lib config`.\n",
    );
    page
}
