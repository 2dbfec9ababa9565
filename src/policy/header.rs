//! Which headers a webhook may have.
//!
//! Refused are headers that control the connection, headers that wahook sets or signs, headers that
//! proxies trust, and headers that cloud metadata services require to detect forged requests.

/// The most headers of one webhook.
pub const HEADERS_MAX: usize = 16;
/// The longest name.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 1024;

const REFUSED: [&str; 22] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "metadata",
    "metadata-flavor",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-google-metadata-request",
    "x-real-ip",
    "x-hub-signature",
];
const REFUSED_BEGINNINGS: [&str; 7] = [
    "proxy-",
    "webhook-",
    "x-webhook-",
    "x-forwarded-",
    "x-hub-signature-",
    "x-aws-ec2-metadata-",
    "sec-",
];

/// Why a header is refused. It never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is not valid.
    #[error("a name has 1 to 64 letters, digits and characters of !#$%&'*+-.^_`|~")]
    Name,
    /// wahook or the connection needs this header.
    #[error("this header is set by wahook, or steers the connection; choose another name")]
    Reserved,
    /// The value is not valid.
    #[error(
        "a value has 1 to 1024 printable ASCII characters, no line breaks, and no space at either \
         end"
    )]
    Value,
}

/// Checks the name of a header. It must be in lower case.
///
/// # Errors
/// Why it is refused.
///
/// # Examples
///
/// ```
/// use wahook::policy::header::{HeaderError, check_header_name};
///
/// assert_eq!(check_header_name("authorization"), Ok(()));
/// assert_eq!(check_header_name("host"), Err(HeaderError::Reserved));
/// ```
pub fn check_header_name(name: &str) -> Result<(), HeaderError> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_token) {
        return Err(HeaderError::Name);
    }
    if REFUSED.contains(&name)
        || REFUSED_BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
    {
        return Err(HeaderError::Reserved);
    }
    Ok(())
}

/// Checks the value of a header.
///
/// # Errors
/// Why it is refused.
///
/// # Examples
///
/// ```
/// use wahook::policy::header::{HeaderError, check_header_value};
///
/// assert_eq!(check_header_value("Bearer abc"), Ok(()));
/// assert_eq!(check_header_value("a\r\nevil: 1"), Err(HeaderError::Value));
/// ```
pub fn check_header_value(value: &str) -> Result<(), HeaderError> {
    let printable = value
        .bytes()
        .all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t');
    let fits = (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.trim() == value;
    if printable && fits {
        Ok(())
    } else {
        Err(HeaderError::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_name_is_accepted_reserved_or_invalid() {
        for name in [
            "authorization",
            "x-api-key",
            "x-tenant_1",
            "traceparent",
            "a",
            "x-hub",
        ] {
            assert_eq!(check_header_name(name), Ok(()), "{name}");
        }
        for name in REFUSED {
            assert_eq!(
                check_header_name(name),
                Err(HeaderError::Reserved),
                "{name}"
            );
        }
        for name in [
            "webhook-id",
            "webhook-signature",
            "proxy-authorization",
            "x-forwarded-for",
            "x-webhook-hmac",
            "x-hub-signature-256",
            "x-aws-ec2-metadata-token",
        ] {
            assert_eq!(
                check_header_name(name),
                Err(HeaderError::Reserved),
                "{name}"
            );
        }
        let long = "x".repeat(65);
        for name in ["", " x", "x:y", "x\r\ny", "ü", ":path", "a b", &long] {
            assert_eq!(check_header_name(name), Err(HeaderError::Name), "{name:?}");
        }
    }

    #[test]
    fn header_value_is_accepted_or_invalid() {
        for value in ["Bearer abc.def", "a\tb", "\"quoted\"", &"x".repeat(1024)] {
            assert_eq!(check_header_value(value), Ok(()), "{value:?}");
        }
        for value in [
            "",
            " x",
            "x ",
            "x\r\nevil: 1",
            "x\ny",
            "x\0",
            "grüße",
            "\u{7f}",
            &"x".repeat(1025),
        ] {
            assert_eq!(
                check_header_value(value),
                Err(HeaderError::Value),
                "{value:?}"
            );
        }
    }
}
