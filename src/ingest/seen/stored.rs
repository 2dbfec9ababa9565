//! The rows in which the memory is stored: where the client keeps what it knows of groups, under
//! names that no group has, as polls are.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use whatsapp_rust::store::traits::Backend;

use crate::wire;

/// What is known of the memory as a whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Since when all that was published is in it.
    pub(super) complete_since_ms: i64,
    /// Where the next message goes.
    pub(super) next: usize,
}

pub(super) fn head_row() -> String {
    "wahook/seen".to_owned()
}

pub(super) fn hash_row(row: usize) -> String {
    format!("wahook/seen/{row}")
}

pub(super) fn anchor_row(slot: usize) -> String {
    format!("wahook/anchor/{slot}")
}

pub(super) async fn read<T: DeserializeOwned>(
    backend: &dyn Backend,
    row: &str,
) -> anyhow::Result<Option<T>> {
    let stored = backend.get_group_metadata(row).await?;
    Ok(stored.and_then(|stored| wire::decode_key_value(&stored)))
}
