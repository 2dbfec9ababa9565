//! Rows of a CSV file with a header, or JSON objects: one after the other, or in an array.

use std::{collections::HashMap, fs::File, io::BufReader, path::Path, str::FromStr};

use anyhow::bail;
use serde_json::{Map, Value};

use crate::model::Timestamp;

type Cells = HashMap<String, String>;
type Source = Box<dyn Iterator<Item = Result<Cells, String>>>;

/// The rows of a file, each with its number, from 1.
pub(super) struct Rows {
    source: Source,
    number: u64,
}

impl Rows {
    /// `.csv`, or `.json`, `.jsonl`, `.ndjson`.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = BufReader::new(File::open(path)?);
        let source: Source = match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Box::new(
                csv::Reader::from_reader(file)
                    .into_deserialize::<Cells>()
                    .map(|row| {
                        // Its text would quote the row.
                        row.map_err(|_| {
                            "is no CSV row with as many fields as the header, in UTF-8".to_owned()
                        })
                    }),
            ),
            Some("json" | "jsonl" | "ndjson") => Box::new(
                serde_json::Deserializer::from_reader(file)
                    .into_iter::<Value>()
                    .flat_map(|value| match value {
                        Ok(Value::Array(rows)) => rows.into_iter().map(cells).collect(),
                        Ok(row) => vec![cells(row)],
                        Err(error) => {
                            vec![Err(format!("is no JSON from line {} on", error.line()))]
                        }
                    }),
            ),
            _ => bail!("the name must end in .csv, .json, .jsonl or .ndjson"),
        };
        Ok(Self { source, number: 0 })
    }
}

impl Iterator for Rows {
    type Item = (u64, Result<Row, String>);
    fn next(&mut self) -> Option<Self::Item> {
        let cells = self.source.next()?;
        self.number += 1;
        Some((self.number, cells.map(Row)))
    }
}

/// Text is taken as it is, null counts as missing, and other values become JSON text.
fn cells(value: Value) -> Result<Cells, String> {
    let Value::Object(fields) = value else {
        return Err("is no JSON object".to_owned());
    };
    let text = |value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, text(value)?)))
        .collect())
}

/// One row. Errors name the field, never its value.
pub(super) struct Row(Cells);

impl Row {
    /// `None` if the cell is missing or empty, because CSV has no null.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    pub(super) fn need(&self, name: &str) -> Result<&str, String> {
        self.text(name).ok_or_else(|| format!("{name} is missing"))
    }

    pub(super) fn parsed<T: FromStr<Err: ToString>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, String> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|error: T::Err| format!("{name}: {}", error.to_string()))
            })
            .transpose()
    }

    pub(super) fn needed<T: FromStr<Err: ToString>>(&self, name: &str) -> Result<T, String> {
        self.parsed(name)?
            .ok_or_else(|| format!("{name} is missing"))
    }

    /// RFC 3339, or as PostgreSQL writes it; without an offset it is UTC.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let mut text = text.replacen(' ', "T", 1);
        let clock = text.find('T').map_or("", |at| &text[at..]);
        match clock.rfind(['+', '-']).map(|at| clock.len() - at) {
            // `+00` and `+0000`.
            Some(3) => text.push_str(":00"),
            Some(5) if !clock[clock.len() - 5..].contains(':') => text.insert(text.len() - 2, ':'),
            None if !clock.ends_with(['Z', 'z']) => text.push('Z'),
            _ => {}
        }
        text.parse()
            .map(Some)
            .map_err(|_| format!("{name} is no time like 2026-11-24T08:30:00Z"))
    }

    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, String> {
        match self.text(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("t" | "true" | "1" | "yes") => Ok(Some(true)),
            Some("f" | "false" | "0" | "no") => Ok(Some(false)),
            Some(_) => Err(format!("{name} is neither true nor false")),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Map<String, Value>, String> {
        let Some(text) = self.text(name) else {
            return Ok(Map::new());
        };
        serde_json::from_str(text).map_err(|_| format!("{name} is no JSON object"))
    }

    #[cfg(test)]
    pub(super) fn of(cells: &[(&str, &str)]) -> Self {
        Self(
            cells
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_postgresql_are_read() {
        let same = [
            "2026-01-02 03:04:05.678+00",
            "2026-01-02T03:04:05.678Z",
            "2026-01-02 03:04:05.678",
        ];
        let offsets = [
            "2026-01-02 05:04:05.678+02",
            "2026-01-02 05:04:05.678+0200",
            "2026-01-01 22:34:05.678-04:30",
        ];
        for text in same.into_iter().chain(offsets) {
            let time = Row::of(&[("at", text)])
                .time("at")
                .expect(text)
                .expect("is there");
            assert_eq!(time.to_string(), "2026-01-02T03:04:05.678Z", "{text}");
        }
        for text in ["yesterday", "2026-01-02", "1767323045"] {
            assert!(Row::of(&[("at", text)]).time("at").is_err(), "{text}");
        }
        assert_eq!(Row::of(&[("at", "")]).time("at"), Ok(None));
    }

    #[test]
    fn csv_and_json_give_the_same_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [
            (
                "a.csv",
                "id,url,metadata\n7,\"a,b\",\"{\"\"x\"\": 1}\"\n8,,\n",
            ),
            (
                "a.jsonl",
                "{\"id\": 7, \"url\": \"a,b\", \"metadata\": {\"x\": 1}}\n{\"id\": 8, \"url\": \
                 null}\n",
            ),
            (
                "a.json",
                "[{\"id\": \"7\", \"url\": \"a,b\", \"metadata\": {\"x\": 1}}, {\"id\": 8}]",
            ),
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("is written");
            let rows: Vec<_> = Rows::open(&path).expect("opens").collect();
            assert_eq!(rows.len(), 2, "{name}");
            let first = rows[0].1.as_ref().expect("a row");
            let second = rows[1].1.as_ref().expect("a row");
            assert_eq!(
                (first.text("id"), first.text("url")),
                (Some("7"), Some("a,b")),
                "{name}"
            );
            assert_eq!(
                first.object("metadata").expect("an object")["x"],
                1,
                "{name}"
            );
            assert_eq!(
                (rows[1].0, second.text("id"), second.text("url")),
                (2, Some("8"), None),
                "{name}"
            );
        }
        let path = folder.path().join("b.jsonl");
        std::fs::write(&path, "{\"id\": 1}\n{broken\n{\"id\": 2}\n").expect("is written");
        let rows: Vec<_> = Rows::open(&path)
            .expect("opens")
            .map(|(_, row)| row.is_ok())
            .collect();
        assert_eq!(
            rows,
            [true, false],
            "what comes after broken JSON cannot be read"
        );
        assert!(Rows::open(Path::new("/dev/null")).is_err());
    }
}
