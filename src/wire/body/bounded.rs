//! JSON that stops at a number of bytes, so that a body that would be too long is never built.

use std::io;

use serde::Serialize;

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
