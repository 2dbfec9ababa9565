//! Messages with files, really encrypted and stored.

use std::time::Duration;

use anyhow::Context;
use buffa::MessageField;
use whatsapp_rust::{
    wacore::{
        download::{DownloadUtils, MediaType},
        upload::encrypt_media,
    },
    waproto::whatsapp as wa,
};

use crate::Server;

/// A message of media: the file is encrypted and stored.
macro_rules! stored {
    (
        $server:expr, $kind:expr, $file:expr, $path:expr,
        $message:ident { $($field:ident: $value:expr),* }
    ) => {{
        let file: &[u8] = $file;
        let sealed = encrypt_media(file, $kind)?;
        let path = format!("/v/{}/{:016x}", $path, rand::random::<u64>());
        $server.0.media.store(&path, sealed.data_to_upload.clone());
        wa::message::$message {
            direct_path: Some(path),
            media_key: Some(sealed.media_key.to_vec()),
            file_sha256: Some(sealed.file_sha256.to_vec()),
            file_enc_sha256: Some(sealed.file_enc_sha256.to_vec()),
            file_length: Some(file.len() as u64),
            $($field: $value,)*
            ..Default::default()
        }
    }};
}

impl Server {
    /// An image, really encrypted and stored.
    ///
    /// # Errors
    /// When it cannot be encrypted.
    pub fn image(&self, file: &[u8], caption: &str) -> anyhow::Result<wa::Message> {
        let image = stored!(
            self,
            MediaType::Image,
            file,
            "i",
            ImageMessage {
                mimetype: Some("image/jpeg".to_owned()),
                caption: Some(caption.to_owned())
            }
        );
        Ok(wa::Message {
            image_message: MessageField::some(image),
            ..Default::default()
        })
    }

    /// A video.
    ///
    /// # Errors
    /// When it cannot be encrypted.
    pub fn video(&self, file: &[u8], caption: &str) -> anyhow::Result<wa::Message> {
        let video = stored!(
            self,
            MediaType::Video,
            file,
            "v",
            VideoMessage {
                mimetype: Some("video/mp4".to_owned()),
                caption: Some(caption.to_owned()),
                seconds: Some(3)
            }
        );
        Ok(wa::Message {
            video_message: MessageField::some(video),
            ..Default::default()
        })
    }

    /// A voice message.
    ///
    /// # Errors
    /// When it cannot be encrypted.
    pub fn voice(&self, file: &[u8]) -> anyhow::Result<wa::Message> {
        let audio = stored!(
            self,
            MediaType::Audio,
            file,
            "a",
            AudioMessage {
                mimetype: Some("audio/ogg; codecs=opus".to_owned()),
                seconds: Some(2),
                ptt: Some(true)
            }
        );
        Ok(wa::Message {
            audio_message: MessageField::some(audio),
            ..Default::default()
        })
    }

    /// A document.
    ///
    /// # Errors
    /// When it cannot be encrypted.
    pub fn document(&self, file: &[u8], name: &str) -> anyhow::Result<wa::Message> {
        let document = stored!(
            self,
            MediaType::Document,
            file,
            "d",
            DocumentMessage {
                mimetype: Some("application/pdf".to_owned()),
                file_name: Some(name.to_owned())
            }
        );
        Ok(wa::Message {
            document_message: MessageField::some(document),
            ..Default::default()
        })
    }

    /// A sticker.
    ///
    /// # Errors
    /// When it cannot be encrypted.
    pub fn sticker(&self, file: &[u8]) -> anyhow::Result<wa::Message> {
        let sticker = stored!(
            self,
            MediaType::Sticker,
            file,
            "s",
            StickerMessage {
                mimetype: Some("image/webp".to_owned())
            }
        );
        Ok(wa::Message {
            sticker_message: MessageField::some(sticker),
            ..Default::default()
        })
    }

    /// An image as channels publish it: stored as it is, without a key.
    pub fn image_in_clear(&self, file: &[u8]) -> wa::Message {
        use sha2::Digest as _;
        let path = format!("/m1/{:016x}", rand::random::<u64>());
        self.0.media.store(&path, file.to_vec());
        let image = wa::message::ImageMessage {
            direct_path: Some(path),
            file_sha256: Some(sha2::Sha256::digest(file).to_vec()),
            file_length: Some(file.len() as u64),
            mimetype: Some("image/png".to_owned()),
            ..Default::default()
        };
        wa::Message {
            image_message: MessageField::some(image),
            ..Default::default()
        }
    }

    /// The image, audio or sticker that a device sent, decrypted with the key in its message.
    ///
    /// # Errors
    /// When it is none of them, was never stored, or does not fit its key.
    pub fn open(&self, message: wa::Message) -> anyhow::Result<Vec<u8>> {
        let image = message.image_message.into_option();
        let image = image.map(|one| (one.direct_path, one.media_key, MediaType::Image));
        let audio = message.audio_message.into_option();
        let audio = audio.map(|one| (one.direct_path, one.media_key, MediaType::Audio));
        let sticker = message.sticker_message.into_option();
        let sticker = sticker.map(|one| (one.direct_path, one.media_key, MediaType::Sticker));
        let file = image.or(audio).or(sticker);
        let (path, key, kind) = file.context("neither an image, audio nor a sticker")?;
        let path = path.context("no path")?;
        let sealed = self.0.media.file(&path).context("no such file")?;
        let key = key.context("no key")?;
        Ok(DownloadUtils::verify_and_decrypt(&sealed, &key, kind)?)
    }

    /// Changes a byte in the middle of a stored file.
    pub fn spoil_file(&self, path: &str) {
        let mut file = self
            .0
            .media
            .file(path)
            .map(|file| file.to_vec())
            .unwrap_or_default();
        let middle = file.len() / 2;
        if let Some(byte) = file.get_mut(middle) {
            *byte ^= 1;
        }
        self.0.media.store(path, file);
    }

    /// From now on serves files `bytes` at a time, with a pause between.
    pub fn pace_files(&self, bytes: usize, pause: Duration) {
        self.0.media.set_pace(bytes, pause);
    }

    /// Lets WhatsApp forget the file of an image message.
    pub fn forget_image(&self, message: &wa::Message) {
        if let Some(path) = message
            .image_message
            .as_option()
            .and_then(|image| image.direct_path.as_ref())
        {
            self.0.media.remove(path);
        }
    }
}
