use futures_util::StreamExt;
use whatsapp_rust::download::MediaType;
use whatsapp_sim::Server;

use super::*;
use crate::config::{Config, WhatsApp};

const QUICK: Duration = Duration::from_secs(1);
/// More than what may wait on the way: [`PIECES`] pieces and the one that is being made.
const LARGE: usize = 20 * PIECE_BYTES;

struct Scene {
    server: Server,
    media: Media,
    reference: Reference,
    path: String,
    file: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn with(bytes: usize) -> Self {
        let server = Server::start().await.expect("the stand-in starts");
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, server.ca_pem()).expect("writes");
        let settings = WhatsApp {
            media_host: server.media_host(),
            root_ca_file: Some(ca),
            ..Config::default().whatsapp
        };
        let media =
            Media::with_stall(&settings, QUICK, &Tasks::default()).expect("the certificate is one");
        let file: Vec<u8> = (0..bytes)
            .map(|at| u8::try_from(at % 251).expect("below 256"))
            .collect();
        let image = server
            .image(&file, "")
            .expect("an image")
            .image_message
            .into_option()
            .expect("an image");
        let file_described = Described {
            path: image.direct_path.as_deref(),
            key: image.media_key.as_deref(),
            sha256: image.file_sha256.as_deref(),
            encrypted_sha256: image.file_enc_sha256.as_deref(),
            length: image.file_length,
            mime_type: image.mimetype.as_deref(),
            file_name: None,
        };
        let reference = Reference::new(MediaType::Image, &file_described).expect("complete");
        let path = image.direct_path.expect("a path");
        Self {
            server,
            media,
            reference,
            path,
            file,
            _folder: folder,
        }
    }

    /// What comes of the file, and how it ends.
    async fn read(&self) -> (Vec<u8>, io::Result<()>) {
        let mut pieces = self
            .media
            .download(&self.reference)
            .await
            .expect("it begins");
        let mut read = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => read.extend_from_slice(&piece),
                Err(error) => return (read, Err(error)),
            }
        }
        (read, Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_size_come_whole() {
    for bytes in [
        1,
        15,
        16,
        PIECE_BYTES - 1,
        PIECE_BYTES,
        PIECE_BYTES + 1,
        LARGE,
    ] {
        let scene = Scene::with(bytes).await;
        let (read, ended) = scene.read().await;
        assert!(
            ended.is_ok() && read == scene.file,
            "{bytes} bytes: {} came, {ended:?}",
            read.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_never_ends_well() {
    for bytes in [100, LARGE] {
        let scene = Scene::with(bytes).await;
        scene.server.spoil_file(&scene.path);
        let (read, ended) = scene.read().await;
        assert!(
            ended.is_err() && read.len() < scene.file.len(),
            "{} of {bytes} came",
            read.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_is_given_up() {
    let scene = Scene::with(LARGE).await;
    scene.server.pace_files(PIECE_BYTES, QUICK / 10);
    let (read, ended) = scene.read().await;
    assert!(
        ended.is_ok() && read == scene.file,
        "slow is not stalled, though it took longer: {ended:?}"
    );
    scene.server.pace_files(PIECE_BYTES, QUICK * 20);
    let (read, ended) = scene.read().await;
    assert!(
        ended.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) && read.len() < LARGE
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_cut_off_and_makes_room() {
    let scene = Scene::with(LARGE).await;
    let mut waiting = Vec::new();
    for _ in 0..DOWNLOADS_MAX {
        waiting.push(
            scene
                .media
                .download(&scene.reference)
                .await
                .expect("it begins"),
        );
    }
    // The next one gets its turn once the others have been given up.
    assert!(scene.read().await.1.is_ok());
    for mut pieces in waiting {
        let mut last = None;
        while let Some(piece) = pieces.next().await {
            last = Some(piece.map(drop));
        }
        assert!(
            last.is_some_and(|last| last.is_err()),
            "it is not taken for a whole file"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_whatsapp_does_not_have_is_said_at_once() {
    let scene = Scene::with(100).await;
    let gone = Reference {
        path: "/v/none".to_owned(),
        ..scene.reference.clone()
    };
    let error = scene
        .media
        .download(&gone)
        .await
        .err()
        .expect("nothing there");
    assert!(error.to_string().contains("404"), "{error}");
    let large = Reference {
        length: MEDIA_BYTES_MAX + 1,
        ..scene.reference.clone()
    };
    assert!(matches!(
        scene.media.download(&large).await,
        Err(MediaError::TooLarge)
    ));
}
