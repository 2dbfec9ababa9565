//! Types of files, as HTTP and WhatsApp write them.

/// The type of a file of which nothing is known.
pub const UNKNOWN_MEDIA_TYPE: &str = "application/octet-stream";

/// Whether it is `type/subtype` without parameters (RFC 9110, 8.3.1).
///
/// # Examples
///
/// ```
/// use wahook::model::is_media_type;
///
/// assert!(is_media_type("image/svg+xml"));
/// assert!(!is_media_type("audio/ogg; codecs=opus"));
/// ```
pub fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}
