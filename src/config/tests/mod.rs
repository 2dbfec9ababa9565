mod docs;
mod errors;
mod sources;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        env: own(pairs),
        ..Sources::default()
    }
}

fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

/// Kept until the test ends: dropping it removes the file.
fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("a temporary file can be written");
    let sources = Sources {
        file: Some(file.path().into()),
        ..Sources::default()
    };
    (file, sources)
}

fn errors(sources: &Sources) -> Vec<Error> {
    load(sources).err().map_or_else(Vec::new, |errors| errors.0)
}
