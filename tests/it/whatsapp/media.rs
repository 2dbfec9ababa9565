//! Files that somebody sent: encrypted or not, and what is said of them.

use serde_json::Value;
use whatsapp_rust::waproto::whatsapp as wa;

use whatsapp_sim::{PhoneFile, content};

use super::{Linked, sending_kinds::GROUP};
use crate::support::{app::http_client, receiver::Receiver};

const CHANNEL: &str = "120363000000000009@newsletter";

async fn ask(linked: &Linked, received: &Value) -> reqwest::Result<reqwest::Response> {
    let id = received["metadata"]["media"]["id"].as_str();
    let id = id.expect("a media id");
    let answer = http_client()
        .get(format!("{}/api/media/{id}", linked.app.api))
        .bearer_auth(&linked.client.token)
        .send();
    answer.await
}

async fn get(linked: &Linked, received: &Value) -> reqwest::Response {
    ask(linked, received).await.expect("the API answers")
}

async fn published(linked: &Linked, receiver: &Receiver, message: &wa::Message) -> Value {
    let before = receiver.received().len();
    let sent = linked.server.publish(&linked.device, CHANNEL, message);
    sent.expect("published");
    receiver.wait_for(before + 1).await.remove(before).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_channels_come_in_clear_and_their_hash_is_checked() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let file: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    let plain = linked.server.image_in_clear(&file);
    let mut with_key = plain.clone();
    with_key.image_message.get_or_insert_default().media_key = Some(vec![1; 32]);
    let mut without_length = plain.clone();
    without_length
        .image_message
        .get_or_insert_default()
        .file_length = None;
    for message in [&plain, &with_key, &without_length] {
        let one = published(&linked, &receiver, message).await;
        let answer = get(&linked, &one).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "image/png");
        assert!(answer.bytes().await.expect("a whole body") == file);
    }
    // Changed on the way.
    let path = plain.image_message.direct_path.clone().expect("a path");
    linked.server.spoil_file(&path);
    let one = published(&linked, &receiver, &plain).await;
    // It may break off before its head was written.
    if let Ok(answer) = ask(&linked, &one).await {
        assert!(answer.bytes().await.is_err(), "it breaks off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_its_type_and_name_and_no_browser_runs_it() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let ann = linked.server.contact("4915200000001", "Ann");
    let file = b"<script>alert(1)</script>".to_vec();
    let table = [
        (
            "Ärger.pdf",
            "application/pdf",
            "filename*=UTF-8''%C3%84rger.pdf",
        ),
        ("../a.html", "text/html", "filename=\"a.html\""),
        ("x.svg", "image/svg+xml", "filename=\"x.svg\""),
        ("x", "no type\r\nx: y", "filename=\"x\""),
    ];
    for (at, (name, mime_type, disposition)) in table.into_iter().enumerate() {
        let mut message = linked.server.document(&file, name).expect("a document");
        let document = message.document_message.get_or_insert_default();
        document.mimetype = Some(mime_type.to_owned());
        // Encrypted files may lack it as well.
        document.file_length = None;
        ann.send(&linked.device, message).await.expect("sent");
        let one = receiver.wait_for(at + 1).await.remove(at).json();
        let answer = get(&linked, &one).await;
        let headers = answer.headers().clone();
        let expected = if mime_type.contains(' ') {
            "application/octet-stream"
        } else {
            mime_type
        };
        assert_eq!(headers["content-type"], expected);
        let shown = headers["content-disposition"].to_str().expect("ASCII");
        assert!(
            shown.starts_with("attachment; ") && shown.contains(disposition),
            "{shown}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'none'; sandbox"
        );
        assert!(answer.bytes().await.expect("a whole body") == file);
    }
}

/// An image that somebody sent, and its webhook.
async fn sent_image(
    linked: &Linked,
    receiver: &Receiver,
    file: &[u8],
    group: Option<&str>,
) -> (wa::Message, Value) {
    let ann = linked.server.contact("4915200000001", "Ann");
    let image = linked.server.image(file, "look").expect("an image");
    let before = receiver.received().len();
    let sent = match group {
        Some(group) => ann.send_group(&linked.device, group, image.clone()).await,
        None => ann.send(&linked.device, image.clone()).await,
    };
    sent.expect("sent");
    let one = receiver.wait_for(before + 1).await.remove(before).json();
    (image, one)
}

fn keep_on_phone(linked: &Linked, one: &Value, image: &wa::Message, mode: PhoneFile) {
    let id = one["message_id"].as_str().expect("an id");
    let kept = linked.server.keep_on_phone(id, image, mode);
    kept.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_asked_of_the_phone_once() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let file: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    for group in [None, Some(GROUP)] {
        let (image, one) = sent_image(&linked, &receiver, &file, group).await;
        keep_on_phone(&linked, &one, &image, PhoneFile::There);
        linked.server.forget_image(&image);
        let asked = linked.server.asked_for_files().len();
        for _ in 0..2 {
            let answer = get(&linked, &one).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["content-type"], "image/jpeg");
            assert!(answer.bytes().await.expect("a whole body") == file);
        }
        let ann = "4915200000001@s.whatsapp.net";
        let named = match group {
            Some(group) => format!("{group} {ann} false"),
            None => format!("{ann}  false"),
        };
        assert_eq!(linked.server.asked_for_files()[asked..], [named]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_phone_has_not_or_does_not_give_is_gone() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let gone = async |one: &Value| {
        let since = std::time::Instant::now();
        let answer = get(&linked, one).await;
        let status = answer.status();
        let body: Value = answer.json().await.expect("a problem");
        assert_eq!(
            (status.as_u16(), &body["code"]),
            (502, &"media_gone".into())
        );
        since.elapsed()
    };
    let (image, one) = sent_image(&linked, &receiver, b"file", None).await;
    linked.server.forget_image(&image);
    let took = [gone(&one).await, gone(&one).await];
    assert!(took[1].as_secs() < 3, "the answer is known: {took:?}");
    assert_eq!(linked.server.asked_for_files().len(), 1);

    let (image, one) = sent_image(&linked, &receiver, b"file", None).await;
    keep_on_phone(&linked, &one, &image, PhoneFile::Silent);
    linked.server.forget_image(&image);
    let took = gone(&one).await;
    assert!((5..9).contains(&took.as_secs()), "bounded: {took:?}");
    // The phone is still being asked.
    let answer = get(&linked, &one).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
    // The session has nothing to do with messages that wait for this.
    let ann = linked.server.contact("4915200000001", "Ann");
    let id = ann.send(&linked.device, content::text("on")).await;
    let acked = linked
        .device
        .wait_acked(&id.expect("sent"), super::STEP_MAX)
        .await;
    acked.expect("received");
}
