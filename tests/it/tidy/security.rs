//! `docs/security.md` names a test for each promise: they are there.

use std::{collections::BTreeSet, fs};

use super::{files, root};

/// Words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Names of tests: long, in snake case, and no path.
fn is_test_name(word: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    word.matches('_').count() > 3 && word.chars().all(|letter| fits(letter) || letter == '_')
}

fn is_path(word: &str) -> bool {
    ["tests/", "src/", "fuzz/"]
        .iter()
        .any(|folder| word.starts_with(folder))
}

#[test]
fn tests_that_the_security_model_names_exist() {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let sources: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| files(folder).into_values())
        .collect();
    let mut named = BTreeSet::new();
    for word in quoted(&page) {
        if is_path(word) {
            assert!(root().join(word).exists(), "docs/security.md names {word}");
            named.insert(word);
        }
        if is_test_name(word) {
            let definition = format!("fn {word}(");
            let exists = sources.iter().any(|text| text.contains(&definition));
            assert!(exists, "docs/security.md names the test {word}");
            named.insert(word);
        }
    }
    assert!(named.len() > 20, "only {named:?}");
    assert!(is_test_name("a_token_may_only_what_its_scopes_say") && !is_test_name("whatsapp"));
}
