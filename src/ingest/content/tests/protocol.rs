//! What the client's protocol has is read, named, or known to be noise: an update of the client
//! brings no silent loss.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::ingest::content::other::NOISE;

fn stdout(command: &mut Command) -> String {
    let command = command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The text of the protocol that the client was built from.
fn protocol() -> String {
    let rustc = stdout(Command::new("rustc").arg("-vV"));
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    // Packages of other platforms may not be there.
    let metadata = stdout(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--offline", "--locked"])
            .args(["--filter-platform", host.expect("a host")]),
    );
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo's metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|package| package["name"] == "waproto");
    let manifest = found.expect("waproto")["manifest_path"].as_str();
    let folder = PathBuf::from(manifest.expect("a path")).with_file_name("src");
    fs::read_to_string(folder.join("whatsapp.proto")).expect("the protocol's text")
}

/// The text between the braces after `start`.
fn block<'a>(text: &'a str, start: &str) -> &'a str {
    let Some(at) = text.find(start) else {
        return "";
    };
    let inner = &text[at + start.len()..];
    let mut depth = 1;
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &inner[..at];
        }
    }
    inner
}

/// Type and name of each field of the message itself, in the names of the code.
fn fields(message: &str) -> Vec<(String, String)> {
    let mut depth = 0;
    let mut found = Vec::new();
    for line in message.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let (0, ["optional", kind, name, "=", ..]) = (depth, &words[..]) {
            found.push(((*kind).to_owned(), snake_case(name)));
        }
        depth += line.matches('{').count();
        depth -= line.matches('}').count();
    }
    found
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The fields that the readers name.
fn named() -> BTreeSet<String> {
    let sources = [
        include_str!("../peel.rs"),
        include_str!("../read.rs"),
        include_str!("../media.rs"),
        include_str!("../plain.rs"),
        include_str!("../poll.rs"),
        include_str!("../reply.rs"),
        include_str!("../interactive.rs"),
        include_str!("../trade.rs"),
        include_str!("../social.rs"),
    ];
    let mut words: BTreeSet<_> = sources
        .iter()
        .flat_map(|source| {
            source.split(|letter: char| !(letter == '_' || letter.is_alphanumeric()))
        })
        .map(str::to_owned)
        .collect();
    // The client reads both by one name.
    for text in ["conversation", "extended_text_message"] {
        words.insert(text.to_owned());
    }
    words
}

/// Kept by their field's name and their first text.
const BY_NAME_ALONE: [&str; 4] = [
    "rich_response_message",
    "message_history_notice",
    "conditional_reveal_message",
    "poll_add_option_message",
];

#[test]
fn every_field_of_a_message_is_read_or_named_or_noise() {
    let protocol = protocol();
    let message = block(&protocol, "\nmessage Message {");
    let fields = fields(message);
    assert!(fields.len() > 100, "{} fields", fields.len());
    let named = named();
    let lost: Vec<_> = fields
        .iter()
        .map(|(_, name)| name.as_str())
        .filter(|name| !named.contains(*name))
        .filter(|name| !NOISE.contains(name) && !BY_NAME_ALONE.contains(name))
        .collect();
    assert!(
        lost.is_empty(),
        "read them, or say that they are noise: {lost:?}"
    );
}

#[test]
fn every_wrapper_is_opened_and_every_context_is_read() {
    let protocol = protocol();
    let message = block(&protocol, "\nmessage Message {");
    let peeled = include_str!("../peel.rs");
    let contexts = include_str!("../context_info.rs");
    let has = |source: &str, name: &str| source.contains(&format!("        {name},"));
    for (kind, name) in fields(message) {
        if kind == "FutureProofMessage" {
            assert!(has(peeled, &name), "{name} is not opened");
            continue;
        }
        let body = block(message, &format!("\n  message {kind} {{"));
        let refers = body.contains("\n    optional ContextInfo contextInfo");
        if refers && !NOISE.contains(&name.as_str()) {
            assert!(has(contexts, &name), "the context of {name} is not read");
        }
    }
}
