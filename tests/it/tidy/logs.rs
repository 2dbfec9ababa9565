//! Log lines have one name for one thing: the fields are those of the table in `docs/logging.md`.

use std::{collections::BTreeMap, fs};

use super::{files, is_test_file, product, root};

const MACROS: [&str; 10] = [
    "error!(",
    "warn!(",
    "info!(",
    "debug!(",
    "trace!(",
    "error_span!(",
    "warn_span!(",
    "info_span!(",
    "debug_span!(",
    "trace_span!(",
];

/// The arguments of a call whose text begins behind the opening bracket.
fn arguments(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if in_text => {
                current.push(letter);
                current.extend(letters.next());
                continue;
            }
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(letter);
    }
    all.push(current);
    all
}

/// The name of a field, from `name = value`, `%name` or `name`. Texts and targets have none.
fn field(argument: &str) -> Option<&str> {
    let argument = argument.trim();
    if argument.is_empty() || argument.starts_with('"') || argument.starts_with("target:") {
        return None;
    }
    let name = argument
        .split_once(" = ")
        .map_or(argument, |(name, _)| name);
    Some(name.trim_start_matches(['%', '?']))
}

/// The fields of all log lines and spans in a text.
fn fields(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("tracing::") {
        let call = &text[at + "tracing::".len()..];
        let Some(name) = MACROS.iter().find(|name| call.starts_with(**name)) else {
            continue;
        };
        let arguments = arguments(&call[name.len()..]);
        // What comes behind the text of a line are the arguments of its format.
        let is_text = |argument: &&String| argument.trim_start().starts_with('"');
        let is_span = name.ends_with("_span!(");
        let before_text = arguments
            .iter()
            .take_while(|argument| is_span || !is_text(argument));
        found.extend(before_text.filter_map(|one| field(one)).map(str::to_owned));
    }
    found
}

/// The fields that the tables of `docs/logging.md` name in their first column.
fn documented() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/logging.md")).expect("docs/logging.md");
    let table = text.split_once("| field |").expect("the table of fields").1;
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn log_lines_use_the_documented_names_of_fields() {
    let documented = documented();
    let mut used = BTreeMap::new();
    for (name, text) in files("src") {
        if is_test_file(&name) {
            continue;
        }
        let lines: Vec<&str> = product(&text).collect();
        for field in fields(&lines.join("\n")) {
            used.entry(field)
                .or_insert_with(Vec::new)
                .push(name.clone());
        }
    }
    for (field, places) in &used {
        assert!(
            documented.contains(field),
            "{places:?} log a field `{field}`, which the table in docs/logging.md does not name: \
             use its name for the same thing, or add a row"
        );
    }
    for field in &documented {
        assert!(used.contains_key(field), "no line has the field `{field}`");
    }
}

#[test]
fn fields_of_lines_and_spans_are_found() {
    let example = r#"
        tracing::warn!(%error, client.id = %f(a, "x, y"), "a {} \" text, {}", b, c);
        tracing::error_span!("job", job.id = Empty, ?kind);
        tracing::info!(target: "x", "text");
        tracing::info!(first, second = 1)
    "#;
    let expected = ["error", "client.id", "job.id", "kind", "first", "second"];
    assert_eq!(fields(example), expected);
}
