//! The keys of a WhatsApp session as rows of tables, and changes of them.
//!
//! What is in the rows is the WhatsApp client's business. Here they are bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One row written or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// The table's number.
    pub table: u8,
    /// The row's name in it.
    pub key: Bytes,
    /// `None` deletes the row.
    pub value: Option<Bytes>,
}

impl KeyChange {
    /// Bytes of its name and value.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// All rows of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyTables(BTreeMap<(u8, Bytes), Bytes>);

impl KeyTables {
    /// Makes one change; whether anything is different now.
    pub fn apply(&mut self, change: &KeyChange) -> bool {
        let place = (change.table, change.key.clone());
        match &change.value {
            Some(value) => self.0.insert(place, value.clone()).as_ref() != Some(value),
            None => self.0.remove(&place).is_some(),
        }
    }

    /// The value of a row.
    pub fn get(&self, table: u8, key: &[u8]) -> Option<&Bytes> {
        // Without a copy of the name there is no look-up in a map of pairs.
        self.0.get(&(table, Bytes::copy_from_slice(key)))
    }

    /// The rows of a table whose name begins so, by their names.
    pub fn rows<'a>(
        &'a self,
        table: u8,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> + 'a {
        let from = (table, Bytes::copy_from_slice(prefix));
        let rows = self.0.range(from..);
        let within = rows.take_while(move |((of, key), _)| *of == table && key.starts_with(prefix));
        within.map(|((_, key), value)| (key, value))
    }

    /// Changes that make these tables from empty ones.
    pub fn changes(&self) -> Vec<KeyChange> {
        let rows = self.0.iter();
        let changes = rows.map(|((table, key), value)| KeyChange {
            table: *table,
            key: key.clone(),
            value: Some(value.clone()),
        });
        changes.collect()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(table: u8, key: &'static str, value: Option<&'static str>) -> KeyChange {
        KeyChange {
            table,
            key: Bytes::from_static(key.as_bytes()),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        }
    }

    #[test]
    fn rows_are_found_by_table_and_beginning_and_copied_by_their_changes() {
        let mut tables = KeyTables::default();
        for (table, key) in [(1, "a"), (1, "ab"), (1, "b"), (2, "ab")] {
            assert!(tables.apply(&change(table, key, Some("x"))));
        }
        assert!(
            !tables.apply(&change(1, "a", Some("x"))),
            "it is so already"
        );
        assert!(!tables.apply(&change(3, "a", None)), "there is none");
        let found: Vec<_> = tables.rows(1, b"a").map(|(key, _)| &key[..]).collect();
        assert_eq!(found, [&b"a"[..], b"ab"]);
        let mut copy = KeyTables::default();
        for one in tables.changes() {
            copy.apply(&one);
        }
        assert_eq!(copy, tables);
        assert!(tables.apply(&change(1, "ab", None)));
        assert_eq!(tables.get(1, b"ab"), None);
        assert!(tables.get(2, b"ab").is_some() && copy != tables);
    }
}
