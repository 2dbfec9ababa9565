//! JSON that stops at a number of bytes, so that a body that would be too long is never built.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// The JSON has more bytes than are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Where most bodies fit without growing the buffer.
const CAPACITY_BYTES: usize = 1024;

struct Buffer {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Buffer {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if part.len() > self.bytes_max - self.bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what would be written.
struct Counter {
    bytes: usize,
    bytes_max: usize,
}

impl io::Write for Counter {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if part.len() > self.bytes_max - self.bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes += part.len();
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The JSON of a value of strings, numbers, lists and maps with text keys: nothing but its length
/// can make it fail.
pub fn json(value: &impl Serialize, bytes_max: usize) -> Result<Vec<u8>, TooLong> {
    let bytes = Vec::with_capacity(CAPACITY_BYTES.min(bytes_max));
    let mut buffer = Buffer { bytes, bytes_max };
    serde_json::to_writer(&mut buffer, value).map_err(|_| TooLong)?;
    Ok(buffer.bytes)
}

/// The same in ASCII: other characters as `\u` and four lowercase hex digits, two such for those
/// beyond U+FFFF.
pub(super) fn ascii_json(value: &impl Serialize, bytes_max: usize) -> Result<Vec<u8>, TooLong> {
    let bytes = Vec::with_capacity(CAPACITY_BYTES.min(bytes_max));
    let mut buffer = Buffer { bytes, bytes_max };
    let mut serializer = serde_json::Serializer::with_formatter(&mut buffer, AsciiFormatter);
    value.serialize(&mut serializer).map_err(|_| TooLong)?;
    Ok(buffer.bytes)
}

struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        // Libraries count DEL among the others.
        while let Some(at) = rest.find(|letter: char| letter >= '\u{7f}') {
            let (plain, other) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let letter = other.chars().next().expect("one was found");
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &other[letter.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// How long the JSON of such a value is. Nothing is stored.
pub(super) fn json_bytes(
    value: &(impl Serialize + ?Sized),
    bytes_max: usize,
) -> Result<usize, TooLong> {
    let mut counter = Counter {
        bytes: 0,
        bytes_max,
    };
    serde_json::to_writer(&mut counter, value).map_err(|_| TooLong)?;
    Ok(counter.bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ascii_json_says_the_same_in_ascii_and_ends_at_its_limit() {
        let value =
            json!({"ä": ["Grüße \n\u{1}", "👋 a", "日本", "\u{7f}\u{80}\u{ffff}", "/\"\\"]});
        let text = ascii_json(&value, usize::MAX).expect("fits");
        let text = String::from_utf8(text).expect("ASCII");
        assert!(text.is_ascii());
        assert_eq!(
            text,
            concat!(
                r#"{"\u00e4":["Gr\u00fc\u00dfe \n\u0001","\ud83d\udc4b a","\u65e5\u672c","#,
                r#""\u007f\u0080\uffff","/\"\\"]}"#
            )
        );
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read, value);
        assert!(ascii_json(&value, text.len()).is_ok());
        assert_eq!(ascii_json(&value, text.len() - 1), Err(TooLong));
    }

    #[test]
    fn json_ends_at_its_limit_and_not_before() {
        let value = json!({"a": ["\u{1}\n", 1e15]});
        let text = value.to_string();
        assert_eq!(json(&value, text.len()), Ok(text.clone().into_bytes()));
        assert_eq!(json_bytes(&value, text.len()), Ok(text.len()));
        assert_eq!(json(&value, text.len() - 1), Err(TooLong));
        assert_eq!(json_bytes(&value, text.len() - 1), Err(TooLong));
        assert_eq!(json(&value, 0), Err(TooLong));
    }
}
