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
    /// WhatsApp's code of a failure.
    pub(super) error: Option<String>,
}

/// What a code of a failure means, as far as the client's source tells it (`client/node_io.rs`).
pub(super) fn failure(code: &str) -> &'static str {
    match code {
        "400" => "WhatsApp did not understand the message",
        "404" => "WhatsApp knows no such receiver",
        "429" => "the account sends too much: wait before it sends more",
        "463" => {
            "WhatsApp lets this account start no chat with people who do not know it, for a time: \
             write only to those who wrote first, and try others after a day"
        }
        "479" => "a field of the message has a form that WhatsApp does not take",
        "500" | "503" => "WhatsApp had a problem of its own: send it again later",
        _ => "WhatsApp did not accept the message",
    }
}

#[cfg(test)]
mod tests {
    use super::failure;

    #[test]
    fn limits_of_whatsapp_are_told_as_such_and_unknown_codes_too() {
        assert!(failure("463").contains("start no chat"));
        assert!(failure("429").contains("too much"));
        for code in ["", "0", "999", "abc"] {
            assert_eq!(failure(code), "WhatsApp did not accept the message");
        }
    }
}
