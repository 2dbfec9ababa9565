//! The kinds of problems, each with its status, code and title.

use axum::http::StatusCode;

/// Makes the enum, and its table, from one list.
macro_rules! codes {
    ($($name:ident $status:ident $code:literal $title:literal;)*) => {
        /// A kind of problem. Each has a row in `docs/api.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::api) enum Code {
            $($name,)*
        }

        impl Code {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Status, code and title.
            pub(super) fn row(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$name => (StatusCode::$status, $code, $title),)*
                }
            }
        }
    };
}

codes! {
    InvalidRequest BAD_REQUEST "invalid_request" "Some fields are not valid";
    InvalidJson BAD_REQUEST "invalid_json" "The body is not the JSON expected here";
    InvalidCursor BAD_REQUEST "invalid_cursor" "The cursor does not fit this list";
    Unauthorized UNAUTHORIZED "unauthorized" "A valid bearer token is needed";
    CrossSite FORBIDDEN "cross_site" "The request did not come from the page";
    MissingScope FORBIDDEN "missing_scope" "The token may not do this";
    NotFound NOT_FOUND "not_found" "There is no such thing here";
    NoWebhook NOT_FOUND "no_webhook" "No webhook is registered for this number";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "The route has other methods";
    Held CONFLICT "held" "The webhook takes no deliveries now";
    InLine CONFLICT "in_line" "The event waits behind others of its chat";
    InFlight CONFLICT "in_flight" "An attempt of the event is under way";
    Unlinkable CONFLICT "no_code" "The session has no code to link it with now";
    SessionLimit CONFLICT "session_limit" "The client has too many sessions";
    ReplayLimit CONFLICT "replay_limit" "The client has too many replays";
    NotConnected CONFLICT "not_connected" "The session cannot send now";
    BodyTimeout REQUEST_TIMEOUT "body_timeout" "The body did not arrive in time";
    TooLarge PAYLOAD_TOO_LARGE "too_large" "The body is too large";
    NotJson UNSUPPORTED_MEDIA_TYPE "not_json" "The body must be application/json";
    KeyReused UNPROCESSABLE_ENTITY "key_reused" "The idempotency key is taken";
    NotOnWhatsApp UNPROCESSABLE_ENTITY "not_on_whatsapp" "The number has no WhatsApp account";
    TooManyRequests TOO_MANY_REQUESTS "too_many_requests" "Too many requests";
    Quota TOO_MANY_REQUESTS "quota" "A quota of the client is used up";
    Internal INTERNAL_SERVER_ERROR "internal" "Something went wrong on our side";
    MediaGone BAD_GATEWAY "media_gone" "WhatsApp did not give the file";
    Unavailable SERVICE_UNAVAILABLE "unavailable" "A part of the system is down";
    LookupFailed SERVICE_UNAVAILABLE "lookup_failed" "WhatsApp did not answer a look-up";
    Busy SERVICE_UNAVAILABLE "busy" "Messages come in faster than they are delivered";
    Timeout GATEWAY_TIMEOUT "timeout" "The request took too long";
}

impl Code {
    /// The value of `www-authenticate` that RFC 6750 asks for.
    pub(super) fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("Bearer realm=\"wahook\""),
            Self::MissingScope => Some("Bearer realm=\"wahook\", error=\"insufficient_scope\""),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    const DOCUMENT: &str = include_str!("../../../docs/api.md");

    #[test]
    fn every_code_stands_in_the_document_with_its_status() {
        for code in Code::ALL {
            let (status, name, _) = code.row();
            assert!(
                DOCUMENT.contains(&format!("| {} | `{name}` |", status.as_u16())),
                "{name}"
            );
        }
    }

    #[test]
    fn every_route_stands_in_the_document_with_its_scope() {
        for (method, path, scope) in crate::api::routes() {
            assert!(
                DOCUMENT.contains(&format!("| {method} `{path}` | `{scope}` |")),
                "{method} {path}"
            );
        }
    }
}
