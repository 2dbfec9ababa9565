//! What became of messages that the account sent.

use whatsapp_rust::Jid;

/// The new status of some messages.
pub(super) struct Receipt {
    pub(super) message_ids: Vec<String>,
    /// `server`, `delivered`, `read`, `played` or `failed`.
    pub(super) status: &'static str,
    /// Who reports it; `None` for the server itself.
    pub(super) from: Option<Jid>,
    pub(super) chat: Option<Jid>,
    pub(super) at_millis: i64,
}
