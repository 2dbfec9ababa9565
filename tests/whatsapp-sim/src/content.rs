//! Messages to send.

use std::{io::Write, time::Duration};

use anyhow::Context;
use buffa::{Message as _, MessageField};
use whatsapp_rust::{
    wacore::{
        download::{DownloadUtils, MediaType},
        upload::encrypt_media,
    },
    waproto::whatsapp as wa,
};

use crate::Server;

/// A plain text.
pub fn text(text: &str) -> wa::Message {
    wa::Message {
        conversation: Some(text.to_owned()),
        ..Default::default()
    }
}

/// A text that quotes an earlier message of somebody.
pub fn quote(text: &str, message_id: &str, from: &str) -> wa::Message {
    let context = wa::ContextInfo {
        stanza_id: Some(message_id.to_owned()),
        participant: Some(format!("{from}@s.whatsapp.net")),
        ..Default::default()
    };
    let extended = wa::message::ExtendedTextMessage {
        text: Some(text.to_owned()),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    wa::Message {
        extended_text_message: MessageField::some(extended),
        ..Default::default()
    }
}

macro_rules! stored {
    ($server:expr, $kind:expr, $file:expr, $path:expr, $message:ident { $($field:ident: $value:expr),* }) => {{
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

    /// What an image that a device sent shows, decrypted with the key in its message.
    ///
    /// # Errors
    /// When it is no image, was never stored, or does not fit its key.
    pub fn open(&self, message: wa::Message) -> anyhow::Result<Vec<u8>> {
        let image = message.image_message.into_option().context("no image")?;
        let path = image.direct_path.as_deref().context("no path")?;
        let sealed = self.0.media.file(path).context("no such file")?;
        let key = image.media_key.as_deref().context("no key")?;
        Ok(DownloadUtils::verify_and_decrypt(
            &sealed,
            key,
            MediaType::Image,
        )?)
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

    /// Serves files so many bytes at a time from now on, with a pause between.
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

/// A place.
pub fn location(latitude: f64, longitude: f64, name: &str) -> wa::Message {
    let location = wa::message::LocationMessage {
        degrees_latitude: Some(latitude),
        degrees_longitude: Some(longitude),
        name: Some(name.to_owned()),
        ..Default::default()
    };
    wa::Message {
        location_message: MessageField::some(location),
        ..Default::default()
    }
}

/// A contact card.
pub fn contact(name: &str, vcard: &str) -> wa::Message {
    let contact = wa::message::ContactMessage {
        display_name: Some(name.to_owned()),
        vcard: Some(vcard.to_owned()),
        ..Default::default()
    };
    wa::Message {
        contact_message: MessageField::some(contact),
        ..Default::default()
    }
}

fn key(message_id: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey {
        id: Some(message_id.to_owned()),
        from_me: Some(false),
        ..Default::default()
    })
}

/// A reaction; an empty one takes an earlier one back.
pub fn reaction(message_id: &str, emoji: &str) -> wa::Message {
    let reaction = wa::message::ReactionMessage {
        key: key(message_id),
        text: Some(emoji.to_owned()),
        ..Default::default()
    };
    wa::Message {
        reaction_message: MessageField::some(reaction),
        ..Default::default()
    }
}

/// A poll.
pub fn poll(question: &str, options: &[&str]) -> wa::Message {
    let option = |name: &&str| wa::message::poll_creation_message::Option {
        option_name: Some((*name).to_owned()),
        ..Default::default()
    };
    let poll = wa::message::PollCreationMessage {
        name: Some(question.to_owned()),
        options: options.iter().map(option).collect(),
        selectable_options_count: Some(1),
        ..Default::default()
    };
    wa::Message {
        poll_creation_message: MessageField::some(poll),
        ..Default::default()
    }
}

fn protocol(message: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(message),
        ..Default::default()
    }
}

/// A new text for an earlier message.
pub fn edit(message_id: &str, new_text: &str) -> wa::Message {
    protocol(wa::message::ProtocolMessage {
        key: key(message_id),
        r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
        edited_message: MessageField::some(text(new_text)),
        ..Default::default()
    })
}

/// Takes an earlier message back.
pub fn revoke(message_id: &str) -> wa::Message {
    protocol(wa::message::ProtocolMessage {
        key: key(message_id),
        r#type: Some(wa::message::protocol_message::Type::REVOKE),
        ..Default::default()
    })
}

/// A button that was pressed.
pub fn button_reply(id: &str, shown: &str) -> wa::Message {
    let reply = wa::message::ButtonsResponseMessage {
        selected_button_id: Some(id.to_owned()),
        response: Some(
            wa::message::buttons_response_message::Response::SelectedDisplayText(shown.to_owned()),
        ),
        ..Default::default()
    };
    wa::Message {
        buttons_response_message: MessageField::some(reply),
        ..Default::default()
    }
}

/// A row of a list that was chosen.
pub fn list_reply(row_id: &str, title: &str) -> wa::Message {
    let row = wa::message::list_response_message::SingleSelectReply {
        selected_row_id: Some(row_id.to_owned()),
    };
    let reply = wa::message::ListResponseMessage {
        title: Some(title.to_owned()),
        single_select_reply: MessageField::some(row),
        ..Default::default()
    };
    wa::Message {
        list_response_message: MessageField::some(reply),
        ..Default::default()
    }
}

/// What the account itself wrote to somebody, as its other devices hear of it.
pub(crate) fn sent_to(chat: &str, message: wa::Message) -> wa::Message {
    let sent = wa::message::DeviceSentMessage {
        destination_jid: Some(chat.to_owned()),
        message: MessageField::some(message),
        ..Default::default()
    };
    wa::Message {
        device_sent_message: MessageField::some(sent),
        ..Default::default()
    }
}

/// What was written in a chat before the device was linked.
pub(crate) fn history(chat: &str, texts: &[&str]) -> anyhow::Result<wa::Message> {
    let old = |(at, old): (usize, &&str)| {
        let key = wa::MessageKey {
            remote_jid: Some(chat.to_owned()),
            from_me: Some(false),
            id: Some(format!("OLD{at}")),
            ..Default::default()
        };
        let message = wa::WebMessageInfo {
            key: MessageField::some(key),
            message: MessageField::some(text(old)),
            message_timestamp: Some(1_700_000_000),
            ..Default::default()
        };
        wa::HistorySyncMsg {
            message: MessageField::some(message),
            ..Default::default()
        }
    };
    let conversation = wa::Conversation {
        id: chat.to_owned(),
        messages: texts.iter().enumerate().map(old).collect(),
        ..Default::default()
    };
    let history = wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::INITIAL_BOOTSTRAP,
        chunk_order: Some(1),
        progress: Some(100),
        conversations: vec![conversation],
        ..Default::default()
    };
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&history.encode_to_vec())?;
    let packed = packed.finish()?;
    let notification = wa::message::HistorySyncNotification {
        sync_type: Some(wa::message::HistorySyncType::INITIAL_BOOTSTRAP),
        file_length: Some(packed.len() as u64),
        chunk_order: Some(1),
        progress: Some(100),
        initial_hist_bootstrap_inline_payload: Some(packed),
        ..Default::default()
    };
    Ok(protocol(wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
        history_sync_notification: MessageField::some(notification),
        ..Default::default()
    }))
}

/// What a handset shares with a freshly linked device. Without it a connect takes ten seconds
/// longer.
pub(crate) fn app_state_keys() -> wa::Message {
    let key = wa::message::AppStateSyncKey {
        key_id: MessageField::some(wa::message::AppStateSyncKeyId {
            key_id: Some(vec![0, 0, 0, 0, 0, 1]),
        }),
        key_data: MessageField::some(wa::message::AppStateSyncKeyData {
            key_data: Some(vec![7; 32]),
            timestamp: Some(1),
            // Without a fingerprint the client ignores the key.
            fingerprint: MessageField::some(wa::message::AppStateSyncKeyFingerprint {
                raw_id: Some(1),
                current_index: Some(0),
                device_indexes: vec![0],
            }),
        }),
    };
    protocol(wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
        app_state_sync_key_share: MessageField::some(wa::message::AppStateSyncKeyShare {
            keys: vec![key],
        }),
        ..Default::default()
    })
}
