//! Addresses in settings.

use super::*;

#[test]
fn cql_nodes_are_hosts_with_or_without_a_port() {
    let taken = [
        "10.0.0.1:9042",
        "n1.example.com",
        "scylla_1:1",
        "[::1]:9042",
        "fd00::1",
    ];
    for text in taken {
        assert!(text.parse::<CqlNode>().is_ok(), "{text}");
    }
    let refused = [
        "",
        ":9042",
        "[::1",
        "[::1]",
        "[x]:1",
        "host:99999",
        "host:0",
        "host:",
        "host:+1",
        "a:1:2",
        "a b",
        "http://a:1",
    ];
    for text in refused {
        assert!(text.parse::<CqlNode>().is_err(), "{text}");
    }
}

#[test]
fn nats_url_takes_one_server_or_a_list_and_refuses_what_no_client_can_dial() {
    let taken = [
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("tls://n1.example.com", "tls://n1.example.com"),
        ("nats://n1:4222/", "nats://n1:4222/"),
        (
            "nats://n1:1, nats://n2:2 ,tls://n3",
            "nats://n1:1,nats://n2:2,tls://n3",
        ),
        ("nats://[::1]:4222,NATS://n2", "nats://[::1]:4222,NATS://n2"),
    ];
    for (text, expected) in taken {
        assert_eq!(nats_url(text).as_deref(), Some(expected), "{text}");
    }
    let refused = [
        "",
        "127.0.0.1:4222",
        "nats://",
        "nats://n1:4222,",
        "nats://n1:4222,,nats://n2:4222",
        "nats://n1:4222;nats://n2:4222",
        "nats://n1:4222 nats://n2:4222",
        "nats://n1:99999",
        "nats://n1:0",
        "nats://n1:x",
        "nats://u:p@n1:4222",
        "nats://n1:4222,nats://u@n2:4222",
        "nats://n1:4222/path",
        "nats://n1:4222?x=1",
        "ws://n1:8080",
        "http://n1:4222",
    ];
    for text in refused {
        assert_eq!(nats_url(text), None, "{text}");
    }
}
