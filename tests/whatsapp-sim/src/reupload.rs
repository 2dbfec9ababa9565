//! The account's handset uploads files again that WhatsApp has no more.

use anyhow::{Context as _, ensure};
use buffa::Message as _;
use wacore_binary::{Node, NodeRef, builder::NodeBuilder};
use whatsapp_rust::{
    wacore::{
        crypto::hkdf_sha256_into, libsignal::crypto::aes_256_gcm_encrypt,
        media_retry::decrypt_media_retry_notification,
    },
    waproto::whatsapp as wa,
};

use crate::{
    Server,
    connection::SERVER,
    keys::{attr, child_bytes, now},
};

/// What a handset does when it is asked for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneFile {
    /// It uploads it.
    There,
    /// It does not answer.
    Silent,
}

/// A file that a handset has.
#[derive(Clone)]
pub(crate) struct Kept {
    mode: PhoneFile,
    key: Vec<u8>,
    sealed: Vec<u8>,
}

impl Server {
    /// The handset has the file of this image message. Others it does not have.
    ///
    /// # Errors
    /// When it is no image, or its file is not stored.
    pub fn keep_on_phone(
        &self,
        message_id: &str,
        message: &wa::Message,
        mode: PhoneFile,
    ) -> anyhow::Result<()> {
        let image = message.image_message.as_option().context("no image")?;
        let path = image.direct_path.as_deref().context("no path")?;
        let kept = Kept {
            mode,
            key: image.media_key.clone().context("no key")?,
            sealed: self.0.media.file(path).context("no file")?.to_vec(),
        };
        let mut state = self.state();
        state.phone_files.insert(message_id.to_owned(), kept);
        Ok(())
    }

    /// How often a handset was asked for a file, with what named its message: chat, sender in a
    /// group, and whether the account wrote it.
    pub fn asked_for_files(&self) -> Vec<String> {
        self.state().asked_for_files.clone()
    }

    /// The answer to a request for a file; `None` when the handset says nothing.
    pub(crate) fn upload_again(&self, receipt: &NodeRef<'_>) -> anyhow::Result<Option<Node>> {
        let id = attr(receipt, "id");
        let named = receipt.get_optional_child("rmr").context("no rmr")?;
        let parts = ["jid", "participant", "from_me"].map(|name| attr(named, name));
        let kept = {
            let mut state = self.state();
            state.asked_for_files.push(parts.join(" "));
            state.phone_files.get(&id).cloned()
        };
        let notification = NodeBuilder::new("notification")
            .attr("id", id.clone())
            .attr("from", SERVER)
            .attr("type", "mediaretry")
            .attr("t", now().to_string());
        let Some(kept) = kept else {
            let error = NodeBuilder::new("error").attr("code", "2").build();
            return Ok(Some(notification.children([error]).build()));
        };
        // Whoever asks has the key.
        let asked = receipt
            .get_optional_child("encrypt")
            .context("no request")?;
        let iv = child_bytes(asked, "enc_iv");
        let sealed = child_bytes(asked, "enc_p");
        let opened = decrypt_media_retry_notification(&kept.key, &id, &iv, &sealed)?;
        ensure!(!opened.is_empty(), "the request names its message");
        if kept.mode == PhoneFile::Silent {
            return Ok(None);
        }
        let path = format!("/v/again/{:016x}", rand::random::<u64>());
        self.0.media.store(&path, kept.sealed.clone());
        let (iv, sealed) = answer(&kept.key, &id, path)?;
        let parts = [("enc_p", sealed), ("enc_iv", iv)];
        let parts = parts.map(|(name, bytes)| NodeBuilder::new(name).bytes(bytes).build());
        let encrypt = NodeBuilder::new("encrypt").children(parts).build();
        Ok(Some(notification.children([encrypt]).build()))
    }
}

/// The nonce, and what the handset says under it.
fn answer(media_key: &[u8], id: &str, path: String) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let said = wa::MediaRetryNotification {
        stanza_id: Some(id.to_owned()),
        direct_path: Some(path),
        result: Some(wa::media_retry_notification::ResultType::SUCCESS),
        ..Default::default()
    };
    let mut key = [0; 32];
    let info = b"WhatsApp Media Retry Notification";
    hkdf_sha256_into(media_key, None, info, &mut key)
        .ok()
        .context("a key")?;
    let iv: [u8; 12] = rand::random();
    let mut sealed = Vec::new();
    aes_256_gcm_encrypt(&key, &iv, id.as_bytes(), &said.encode_to_vec(), &mut sealed)
        .ok()
        .context("sealing")?;
    Ok((iv.to_vec(), sealed))
}
