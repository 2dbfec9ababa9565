//! `config/default.toml`, the code and `docs/configuration.md` say the same.

use std::{collections::BTreeSet, fs};

use super::*;
use crate::config::defaults::{TEXT, keys};

#[test]
fn defaults_load_and_have_exactly_the_known_keys() {
    let (values, errors) = merge::merge(&Sources::default());
    assert_eq!(errors, []);
    let mut reader = read::Reader::new(&values);
    let config = build::build(&mut reader);
    let findings = reader.finish();
    assert_eq!(findings.errors, []);
    assert_eq!(Config::default(), config);

    let documented: BTreeSet<_> = keys().iter().map(|key| key.dotted()).collect();
    let read: BTreeSet<_> = findings
        .bounds
        .keys()
        .map(|key| (*key).to_owned())
        .collect();
    assert_eq!(
        documented, read,
        "left: config/default.toml, right: config::build"
    );
    assert_eq!(documented.len(), keys().len(), "a key is documented twice");

    let written: BTreeSet<_> = values.keys().cloned().collect();
    let with_default: BTreeSet<_> = keys()
        .iter()
        .filter(|key| !key.optional)
        .map(|key| key.dotted())
        .collect();
    assert_eq!(
        written, with_default,
        "left: as TOML sees it, right: as the list of keys sees it"
    );
}

#[test]
fn every_key_has_a_comment_with_its_bounds() {
    let (values, _) = merge::merge(&Sources::default());
    let mut reader = read::Reader::new(&values);
    build::build(&mut reader);
    let findings = reader.finish();
    for key in keys() {
        let dotted = key.dotted();
        let comment = key.comment.join(" ");
        assert!(!comment.is_empty(), "{dotted} has no comment");
        let bounds = findings
            .bounds
            .get(dotted.as_str())
            .expect("all keys are read");
        let said = comment.contains(bounds.as_str());
        assert!(said, "the comment of {dotted} must say: {bounds}");
    }
}

#[test]
fn examples_of_optional_keys_are_valid() {
    let text: String = TEXT
        .lines()
        .map(|line| format!("{}\n", uncomment(line)))
        .collect();
    // Second ways to say the same.
    let text = text.replace("credentials_file =", "#credentials_file =");
    let text = text.replace("jetstream_api_prefix =", "#jetstream_api_prefix =");
    let (_file, sources) = file(&text);
    let config = Config::load(&sources).expect("the other examples go together");
    assert!(config.nats.password.is_some() && config.egress.root_ca_file.is_some());
}

fn uncomment(line: &str) -> &str {
    line.strip_prefix('#')
        .filter(|rest| rest.contains(" = ") && !rest.starts_with(' '))
        .unwrap_or(line)
}

#[test]
fn reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, reference()).expect("docs/ can be written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let help = "docs/configuration.md is out of date: run `UPDATE_DOCS=1 cargo test --lib config` \
        and commit it";
    assert!(committed == reference(), "{help}");
}
