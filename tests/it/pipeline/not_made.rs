//! What becomes of messages when wahook itself cannot make a request.

use std::process::Stdio;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::support::{
    app::{App, eventually, http_client},
    process::free_port,
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";

/// An HTTP proxy that does as it is asked.
async fn serve_proxy(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default();
            let mut endpoint = TcpStream::connect(target).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            copy_bidirectional(&mut stream, &mut endpoint).await
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_away_costs_no_attempt() {
    let port = free_port();
    let proxy = format!("http://127.0.0.1:{port}");
    let app = App::with(&[
        ("EGRESS__PROXY", &proxy),
        ("DELIVER__MAX_RETRIES", "0"),
        ("DELIVER__BREAKER_FAILURES", "1"),
        ("DELIVER__LANE_WAIT", "200ms"),
    ])
    .await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let metrics = format!("{}/metrics", app.admin);
    let parked = "wahook_delivery_parked_total{cause=\"proxy\"} ";
    eventually("it was put off twice", async || {
        let text = http_client().get(&metrics).send().await.ok()?;
        let text = text.text().await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(parked))?;
        line.parse::<f64>().ok().filter(|times| *times >= 2.0)
    })
    .await;
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("the port is still free");
    tokio::spawn(serve_proxy(listener));
    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], json!(1), "{event}");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_at_the_start() {
    const LIMIT: &str = "the limit of open files";
    let data = tempfile::tempdir().expect("a folder");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -n 200 && exec \"$0\" serve --roles api"])
        .arg(env!("CARGO_BIN_EXE_wahook"))
        .env("WAHOOK__NATS__URL", "nats://127.0.0.1:1")
        .env("WAHOOK__LOG__FORMAT", "json")
        .env("WAHOOK__NODE__DATA_DIR", data.path())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("sh runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = loop {
        let line = lines.next_line().await.expect("UTF-8");
        let line = line.expect("it says so before it ends");
        if line.contains(LIMIT) {
            break line;
        }
    };
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["limit_before"], json!("200"), "{line}");
    assert_ne!(line["limit"], line["limit_before"], "{line}");
}
