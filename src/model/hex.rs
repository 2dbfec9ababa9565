//! Lower-case hex.

use std::fmt::Write;

/// Bytes as lower-case hex digits.
///
/// # Examples
///
/// ```
/// assert_eq!(wahook::model::hex(&[0, 0xff]), "00ff");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The bytes that hex digits of either case stand for.
///
/// # Examples
///
/// ```
/// use wahook::model::parse_hex;
///
/// assert_eq!(parse_hex("00fF"), Some(vec![0, 0xff]));
/// assert_eq!(parse_hex("0"), None);
/// assert_eq!(parse_hex("+1"), None);
/// ```
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low);
    rest.is_empty().then(|| bytes.collect())
}
