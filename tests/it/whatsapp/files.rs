//! As what files arrive that are sent.

use serde_json::{Value, json};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_sim::Contact;

use super::{
    Linked, STEP_MAX,
    sending::{file_server, send},
};

const BOB: &str = "4915200000009";

/// Opus in Ogg of two seconds.
fn voice() -> Vec<u8> {
    let mut bytes = b"OggS\0\x02".to_vec();
    bytes.extend([0; 20]);
    bytes.extend([1, 19]);
    bytes.extend(b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0");
    bytes.extend(b"OggS\0\x04");
    bytes.extend(96_312_u64.to_le_bytes());
    bytes.extend([0; 13]);
    bytes
}

async fn arrived(linked: &Linked, bob: &Contact, media: Value) -> wa::Message {
    let body = json!({"session_id": linked.session, "to": BOB, "media": media});
    let (status, _, answer) = send(linked, None, body).await;
    assert_eq!(status, 202, "{answer}");
    let received = bob.receive(&linked.device, STEP_MAX).await;
    received.expect("Bob can read it").1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_note_is_one_with_its_codec_and_length() {
    let linked = Linked::with(&[("WHATSAPP__SENDS_PER_MINUTE", "600")]).await;
    let bob = linked.server.contact(BOB, "Bob");
    let served = [
        "audio/ogg; codecs=opus",
        "audio/ogg",
        "application/octet-stream",
    ];
    for content_type in served {
        let url = file_server(content_type, voice()).await;
        let message = arrived(&linked, &bob, json!({"url": url})).await;
        let audio = message.audio_message.as_option().expect("audio");
        assert_eq!(
            (audio.mimetype.as_deref(), audio.ptt, audio.seconds),
            (Some("audio/ogg; codecs=opus"), Some(true), Some(2)),
            "{content_type}"
        );
        let bytes = linked.server.open(message.clone()).expect("stored");
        assert_eq!(bytes, voice());
    }
    let url = file_server("audio/ogg; codecs=opus", voice()).await;
    let message = arrived(&linked, &bob, json!({"url": url, "voice": false})).await;
    let audio = message.audio_message.as_option().expect("audio");
    assert_eq!((audio.ptt, audio.seconds), (None, Some(2)));

    let mp3 = file_server("audio/mpeg", b"ID3 and more".to_vec()).await;
    let message = arrived(&linked, &bob, json!({"url": mp3})).await;
    let audio = message.audio_message.as_option().expect("audio");
    assert_eq!(
        (audio.mimetype.as_deref(), audio.ptt),
        (Some("audio/mpeg"), None)
    );
    what_does_not_fit_audio_is_refused(&linked, &url, &mp3).await;
}

async fn what_does_not_fit_audio_is_refused(linked: &Linked, voice: &str, mp3: &str) {
    let before = linked.device.messages_sent();
    let cases = [
        (json!({"url": voice}), "caption", "/text"),
        (json!({"url": mp3, "voice": true}), "", "/media/voice"),
    ];
    for (media, text, pointer) in cases {
        let body = json!({"session_id": linked.session, "to": BOB, "text": text, "media": media});
        let (status, _, answer) = send(linked, None, body).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{answer}"
        );
    }
    assert_eq!(linked.device.messages_sent(), before, "nothing left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_is_is_looked_for_in_it_and_odd_ones_are_documents() {
    let linked = Linked::with(&[("WHATSAPP__SENDS_PER_MINUTE", "600")]).await;
    let bob = linked.server.contact(BOB, "Bob");
    let jpeg = b"\xff\xd8\xff\xe0 and so on".to_vec();
    for content_type in ["application/octet-stream", "", "nonsense"] {
        let url = file_server(content_type, jpeg.clone()).await;
        let message = arrived(&linked, &bob, json!({"url": url})).await;
        let image = message.image_message.as_option().expect("an image");
        assert_eq!(image.mimetype.as_deref(), Some("image/jpeg"));
    }
    let table = [
        ("image/svg+xml", "image/svg+xml"),
        ("", "application/octet-stream"),
        ("text/plain; charset=utf-8", "text/plain"),
    ];
    for (content_type, expected) in table {
        let url = file_server(content_type, b"<svg/>".to_vec()).await;
        let media = json!({"url": url, "file_name": "a.svg"});
        let message = arrived(&linked, &bob, media).await;
        let document = message.document_message.as_option().expect("a document");
        assert_eq!(document.mimetype.as_deref(), Some(expected));
    }
}
