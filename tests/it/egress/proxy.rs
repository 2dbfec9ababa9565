//! The operator's proxy.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use wahook::{
    config::{self, ProxyAddress, ProxyKind},
    egress::NotMade,
    model::{Outcome, Secret},
};

use super::{
    Server, answer_ok, asking, client, names, post, settings, tenant,
    tls::{Identity, https, tls_server},
    try_post,
};

/// What a proxy was asked for, and with which credentials.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn connect_proxy(mut stream: TcpStream, seen: Seen) -> io::Result<()> {
    let head = read_head(&mut stream).await?;
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let login = head
        .lines()
        .find_map(|line| line.strip_prefix("Proxy-Authorization: "))
        .unwrap_or_default();
    seen.lock()
        .expect("whole")
        .push((target.clone(), login.to_owned()));
    if login == "Basic d3Jvbmc6d3Jvbmc=" {
        return stream
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            .await;
    }
    let Ok(mut endpoint) = TcpStream::connect(target).await else {
        return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    };
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
        .await?;
    copy_bidirectional(&mut stream, &mut endpoint).await?;
    Ok(())
}

async fn read_short(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u8().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn socks_proxy(mut stream: TcpStream, seen: Seen) -> io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let methods = read_short(&mut stream).await?;
    stream.write_all(&[5, methods[0]]).await?;
    let mut login = String::new();
    if methods[0] == 2 {
        assert_eq!(stream.read_u8().await?, 1);
        let user = read_short(&mut stream).await?;
        let password = read_short(&mut stream).await?;
        login = String::from_utf8_lossy(&[user, password].join(&b':')).into_owned();
        let refused = u8::from(login == "wrong:wrong");
        stream.write_all(&[1, refused]).await?;
        if refused == 1 {
            return Ok(());
        }
    }
    let mut request = [0; 10];
    stream.read_exact(&mut request).await?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else {
        return stream.write_all(&[5, 8, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    let target = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    seen.lock()
        .expect("whole")
        .push((target.to_string(), login));
    let Ok(mut endpoint) = TcpStream::connect(target).await else {
        return stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut stream, &mut endpoint).await?;
    Ok(())
}

struct Proxied {
    proxy: Server,
    seen: Seen,
    kind: ProxyKind,
}

impl Proxied {
    async fn start(kind: ProxyKind) -> Self {
        let seen = Seen::default();
        let asked = Arc::clone(&seen);
        let proxy = Server::start(move |stream| {
            let seen = Arc::clone(&asked);
            async move {
                // An error means that one side has closed.
                let _ = match kind {
                    ProxyKind::Http => connect_proxy(stream, seen).await,
                    ProxyKind::Socks5 => socks_proxy(stream, seen).await,
                };
            }
        })
        .await;
        Self { proxy, seen, kind }
    }

    fn settings(&self, base: config::Egress, login: Option<&str>) -> config::Egress {
        config::Egress {
            proxy: Some(ProxyAddress {
                kind: self.kind,
                host: "127.0.0.1".to_owned(),
                port: self.proxy.port,
            }),
            proxy_user: login.map(str::to_owned),
            proxy_password: login.map(|text| Secret::new(text.to_owned())),
            ..base
        }
    }

    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().expect("whole").clone()
    }
}

#[tokio::test]
async fn requests_go_through_the_proxy_to_judged_addresses() {
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let proxied = Proxied::start(kind).await;
        let server = Server::start(answer_ok).await;
        let lookup = names([("here.example", "127.0.0.1")]);
        let client = asking(&proxied.settings(settings(true), None), lookup);
        let answer = post(&client, &server.url("here.example")).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{kind:?}: {answer:?}");
        // The proxy is given an address, so that it cannot find another one for the name.
        let expected = (format!("127.0.0.1:{}", server.port), String::new());
        assert_eq!(proxied.seen(), [expected], "{kind:?}");
        let file = client.get(tenant(1), &server.url("here.example"), 10).await;
        assert_eq!(file.expect("a file").bytes, b"ok");
    }
}

#[tokio::test]
async fn the_proxy_gets_the_credentials_and_no_certificate_check_is_lost() {
    let identity = Identity::local();
    for (kind, login) in [
        (ProxyKind::Http, "Basic bWU6bWU="),
        (ProxyKind::Socks5, "me:me"),
    ] {
        let proxied = Proxied::start(kind).await;
        let (server, bodies) = tls_server(identity.acceptor(&[])).await;
        let url = https(&server, "127.0.0.1");
        let distrusting = client(&proxied.settings(settings(true), Some("me")));
        assert_eq!(post(&distrusting, &url).await.outcome, Outcome::Tls);
        let (trusting, _folder) = identity.trusted();
        let trusting = client(&proxied.settings(trusting, Some("me")));
        let answer = post(&trusting, &url).await;
        assert_eq!(answer.http_status, Some(204), "{kind:?}: {answer:?}");
        assert_eq!(bodies.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert!(proxied.seen().iter().all(|(_, seen)| seen == login));
    }
}

#[tokio::test]
async fn the_proxy_is_never_asked_for_a_private_address() {
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let proxied = Proxied::start(kind).await;
        let lookup = names([
            ("private.example", "127.0.0.1"),
            ("meta.example", "169.254.169.254"),
        ]);
        let client = asking(&proxied.settings(settings(false), None), lookup);
        for host in [
            "private.example",
            "meta.example",
            "127.0.0.1",
            "absent.example",
        ] {
            let answer = post(&client, &format!("http://{host}/")).await;
            assert_ne!(answer.outcome, Outcome::Ok, "{host}");
        }
        assert_eq!(proxied.proxy.connections(), 0);
    }
}

#[tokio::test]
async fn the_proxys_faults_are_not_the_endpoints() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = listener.local_addr().expect("an address").port();
    drop(listener);
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let proxied = Proxied::start(kind).await;
        let server = Server::start(answer_ok).await;
        // The endpoint is down: that is its own fault.
        let good = client(&proxied.settings(settings(true), None));
        let answer = post(&good, &format!("http://127.0.0.1:{closed}/")).await;
        assert_eq!(answer.outcome, Outcome::Connect, "{kind:?}");

        let mut away = proxied.settings(settings(true), None);
        away.proxy = away.proxy.map(|proxy| ProxyAddress {
            port: closed,
            ..proxy
        });
        let mut other = proxied.settings(settings(true), None);
        other.proxy = other.proxy.map(|proxy| ProxyAddress {
            kind: match kind {
                ProxyKind::Http => ProxyKind::Socks5,
                ProxyKind::Socks5 => ProxyKind::Http,
            },
            ..proxy
        });
        let wrong = proxied.settings(settings(true), Some("wrong"));
        for settings in [away, other, wrong] {
            let client = client(&settings);
            let made = try_post(&client, tenant(1), &server.url("127.0.0.1")).await;
            assert_eq!(
                made.expect_err("no request"),
                NotMade::Proxy,
                "{settings:?}"
            );
        }
        assert_eq!(server.connections(), 0);
    }
}
