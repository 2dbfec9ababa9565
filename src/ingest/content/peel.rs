//! Opening the wrappers of a message. WhatsApp puts messages into messages, in any order.

use whatsapp_rust::prelude::wa;

/// Wrappers in wrappers that are opened. A real message has at most four.
const DEPTH_MAX: usize = 16;

/// The message inside all wrappers.
pub(super) struct Peeled<'m> {
    pub(super) base: &'m wa::Message,
    /// It may be looked at once.
    pub(super) is_view_once: bool,
    /// What only clients exchange was around it.
    pub(super) is_noise: bool,
    /// What it belongs to: an album, or the same picture in another size.
    pub(super) association: Option<&'m wa::MessageAssociation>,
}

/// The first of these fields that holds a message.
macro_rules! first_inside {
    ($message:expr, $($field:ident),* $(,)?) => {
        None$(.or_else(|| $message.$field.as_option().and_then(|m| m.message.as_option())))*
    };
}

/// Every field of type `FutureProofMessage`, and what a phone sends to its own devices. A test
/// compares the list with the protocol's.
fn inside(message: &wa::Message) -> Option<&wa::Message> {
    first_inside!(
        message,
        device_sent_message,
        ephemeral_message,
        view_once_message,
        view_once_message_v2,
        view_once_message_v2_extension,
        document_with_caption_message,
        edited_message,
        group_mentioned_message,
        bot_invoke_message,
        bot_forwarded_message,
        lottie_sticker_message,
        event_cover_image,
        poll_creation_option_image_message,
        associated_child_message,
        poll_creation_message_v4,
        status_add_yours,
        group_status_message,
        group_status_message_v2,
        question_message,
        question_reply_message,
        spoiler_message,
    )
    .or_else(|| noise(message))
}

fn noise(message: &wa::Message) -> Option<&wa::Message> {
    first_inside!(
        message,
        status_mention_message,
        group_status_mention_message,
        limit_sharing_message,
        bot_task_message,
        newsletter_admin_profile_message,
        newsletter_admin_profile_message_v2,
        newsletter_admin_profile_status_message,
    )
}

impl<'m> Peeled<'m> {
    pub(super) fn of(message: &'m wa::Message) -> Self {
        let mut peeled = Self {
            base: message,
            is_view_once: false,
            is_noise: false,
            association: association(message),
        };
        for _ in 0..DEPTH_MAX {
            let base = peeled.base;
            let Some(inner) = inside(base) else {
                break;
            };
            peeled.is_view_once |= base.view_once_message.is_set()
                || base.view_once_message_v2.is_set()
                || base.view_once_message_v2_extension.is_set();
            peeled.is_noise |= noise(base).is_some();
            peeled.association = peeled.association.or_else(|| association(inner));
            peeled.base = inner;
        }
        peeled
    }
}

fn association(message: &wa::Message) -> Option<&wa::MessageAssociation> {
    let info = message.message_context_info.as_option()?;
    info.message_association.as_option()
}
