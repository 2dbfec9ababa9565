use std::time::Duration;

use whatsapp_rust::{
    Jid,
    chrono::TimeDelta,
    pair_code::PairCodeRejection,
    types::events::{
        ClientOutdated, ConnectFailure, Connected, Disconnected, LoggedOut, PairError,
        PairPasskeyRequest, PairSuccess, PairingCode, PairingCodeError, PairingQrCode,
        PairingQrCodesExhausted, StreamError, StreamReplaced, TempBanReason, TemporaryBan,
    },
    wacore::net::DisconnectReason,
};

use super::*;

fn failure(code: i32) -> Event {
    let reason = ConnectFailureReason::from(code);
    Event::ConnectFailure(ConnectFailure::builder().reason(reason).build())
}

fn logged_out(reason: ConnectFailureReason) -> Event {
    let event = LoggedOut::builder().on_connect(true).reason(reason);
    Event::LoggedOut(event.build())
}

fn stream_error(code: &str) -> Event {
    Event::StreamError(StreamError::builder().code(code.to_owned()).build())
}

fn jid() -> Jid {
    "4915112345678@s.whatsapp.net".parse().expect("a JID")
}

fn pair_error() -> Event {
    let event = PairError::builder()
        .id(jid())
        .lid(jid())
        .business_name(String::new())
        .platform(String::new())
        .error("the signature is wrong".to_owned());
    Event::PairError(event.build())
}

fn temporary_ban() -> Event {
    let event = TemporaryBan::builder()
        .code(TempBanReason::from(102))
        .expire(TimeDelta::seconds(3600));
    Event::TemporaryBan(event.build())
}

/// An event, the state it leads to, and the remedy that its reason names.
type End = (&'static str, Event, SessionState, &'static str);

const TRIES: &str = "tries again by itself";
const NEW_LINK: &str = "link a new one";

/// What WhatsApp answers to a connection that it refuses.
fn refusals() -> Vec<End> {
    use SessionState::{Banned, Reconnecting, Refused};
    let refused = |name, code, remedy| (name, failure(code), Refused, remedy);
    vec![
        refused("no reason", 0, TRIES),
        refused("400", 400, TRIES),
        ("402 without a term", failure(402), Banned, "wait some"),
        refused("409", 409, "update wahook"),
        refused("413", 413, NEW_LINK),
        refused("414", 414, NEW_LINK),
        refused("415", 415, NEW_LINK),
        refused("418", 418, NEW_LINK),
        refused("429", 429, TRIES),
        ("500", failure(500), Reconnecting, "by itself"),
        refused("501", 501, TRIES),
        refused("502", 502, TRIES),
        ("503", failure(503), Reconnecting, "by itself"),
        refused("504", 504, TRIES),
        refused("an unknown code", 7777, TRIES),
    ]
}

/// Log-outs, bans, and other ends of a connection.
fn ends_of_connections() -> Vec<End> {
    use ConnectFailureReason::{AccountLocked, LoggedOut, UnknownLogout};
    use SessionState::{Banned, LoggedOut as Out, Outdated, Reconnecting, Replaced};
    let disconnected = Disconnected::builder().reason(DisconnectReason::Unknown);
    let disconnected = Event::Disconnected(disconnected.build());
    let outdated = Event::ClientOutdated(ClientOutdated::builder().build());
    let replaced = Event::StreamReplaced(StreamReplaced::builder().build());
    vec![
        ("401", logged_out(LoggedOut), Out, "link it again"),
        ("403", logged_out(AccountLocked), Out, "unlock it"),
        ("406", logged_out(UnknownLogout), Out, "link it again"),
        ("ban", temporary_ban(), Banned, "wait that long"),
        ("outdated", outdated, Outdated, "whatsapp.version"),
        ("replaced", replaced, Replaced, "restart"),
        ("lost", disconnected, Reconnecting, "by itself"),
    ]
}

/// Pairings that came to nothing.
fn ends_of_pairings() -> Vec<End> {
    use SessionState::Pairing;
    let no_code = PairingCodeError::builder()
        .rejection(PairCodeRejection::RateOverlimit)
        .error(String::new());
    let no_code = Event::PairingCodeError(no_code.build());
    let used_up = PairingQrCodesExhausted::builder().disconnected(true);
    let used_up = Event::PairingQrCodesExhausted(used_up.build());
    let passkey = PairPasskeyRequest::builder().request_options_json(String::new());
    let passkey = Event::PairPasskeyRequest(passkey.build());
    vec![
        ("no pairing code", no_code, Pairing, "wait some"),
        ("QR codes used up", used_up, Pairing, "restart"),
        ("passkey wanted", passkey, Pairing, "other method"),
        ("pairing failed", pair_error(), Pairing, "restart"),
    ]
}

fn ends() -> impl Iterator<Item = End> {
    let connections = refusals().into_iter().chain(ends_of_connections());
    connections.chain(ends_of_pairings())
}

#[test]
fn each_end_has_a_state_a_reason_and_a_remedy() {
    for (name, event, expected, remedy) in ends() {
        let SessionEvent::State(state, Some(reason)) = meaning(&event) else {
            panic!("{name}: no state with a reason");
        };
        assert_eq!(state, expected, "{name}");
        let named = reason.split_once(": ").map(|(_, remedy)| remedy);
        assert!(
            named.is_some_and(|named| named.contains(remedy)),
            "{name}: {reason}"
        );
    }
}

#[test]
fn only_a_log_out_event_leads_to_the_state_that_erases_the_keys() {
    for (name, event, state, _) in ends() {
        let is_log_out = matches!(event, Event::LoggedOut(_));
        assert_eq!(state == SessionState::LoggedOut, is_log_out, "{name}");
    }
    for code in -1..=1000 {
        let SessionEvent::State(state, _) = meaning(&failure(code)) else {
            panic!("{code}: no state");
        };
        assert_ne!(state, SessionState::LoggedOut, "{code}");
    }
}

#[test]
fn each_event_with_a_meaning_is_subscribed_to() {
    let (sender, _events) = mpsc::channel(1);
    let interest = EventForwarder {
        events: sender,
        unread: Arc::default(),
    }
    .interest();
    for (name, event, _, _) in ends() {
        assert!(interest.wants(event.kind()), "{name}");
    }
    assert!(interest.wants(stream_error("").kind()));
}

#[test]
fn stream_error_changes_no_state_and_shows_a_short_code() {
    for (code, shown) in [
        ("", "\"\""),
        ("479", "\"479\""),
        ("<a href='x'>\n", "\"ahrefx\""),
    ] {
        let SessionEvent::Remark(remark) = meaning(&stream_error(code)) else {
            panic!("{code:?}: no remark");
        };
        assert!(remark.contains(shown), "{remark}");
    }
    let SessionEvent::Remark(remark) = meaning(&stream_error(&"9".repeat(100_000))) else {
        panic!("no remark");
    };
    assert!(remark.len() < 200, "{}", remark.len());
}

#[test]
fn pairing_shows_its_code_and_then_the_number() {
    let qr = PairingQrCode::builder()
        .code("2@ref".to_owned())
        .timeout(Duration::from_secs(60));
    let typed = PairingCode::builder()
        .code("ABCD1234".to_owned())
        .timeout(Duration::from_secs(180));
    for (event, expected, text) in [
        (Event::PairingQrCode(qr.build()), PairingMethod::Qr, "2@ref"),
        (
            Event::PairingCode(typed.build()),
            PairingMethod::Code,
            "ABCD1234",
        ),
    ] {
        let SessionEvent::Pairing { method, code, .. } = meaning(&event) else {
            panic!("{text}: no code");
        };
        assert_eq!((method, code.as_str()), (expected, text));
    }
    let paired = PairSuccess::builder()
        .id(jid())
        .lid(jid())
        .business_name(String::new())
        .platform(String::new());
    let SessionEvent::Paired(phone) = meaning(&Event::PairSuccess(paired.build())) else {
        panic!("not paired");
    };
    assert_eq!(phone.expect("a number").as_str(), "4915112345678");
    assert!(matches!(
        meaning(&Event::Connected(Connected::builder().build())),
        SessionEvent::State(SessionState::Connected, None)
    ));
}
