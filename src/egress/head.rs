//! The head of an HTTP/1 answer, read for its status alone.

/// Interim answers (1xx) before the final one. Browsers and servers that send several send two or
/// three.
const INTERIM_MAX: u16 = 64;
/// All heads of one answer together. Servers refuse larger requests than some tens of kilobytes;
/// nothing says so of answers.
const HEADS_BYTES_MAX: usize = 256 * 1024;
/// Of one line; the rest of it is not looked at.
const LINE_BYTES_MAX: usize = 512;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The status line comes next.
    StatusLine,
    /// Fields of an interim answer.
    InterimFields,
    /// Fields of the final answer.
    Fields,
    /// Whatever comes is body, or no HTTP.
    #[default]
    Over,
}

/// Reads the head of one answer. By default it expects none.
#[derive(Debug, Default)]
pub(super) struct Head {
    part: Part,
    line: Vec<u8>,
    bytes: usize,
    interim: u16,
    status: Option<u16>,
    retry_after: Option<String>,
}

impl Head {
    /// The answer to a request that begins now.
    pub(super) fn expected() -> Self {
        Self {
            part: Part::StatusLine,
            ..Self::default()
        }
    }

    /// Takes what came; whether the endpoint keeps to the limits.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.part == Part::Over {
            return true;
        }
        let mut rest = bytes;
        while self.part != Part::Over
            && let Some(end) = rest.iter().position(|byte| *byte == b'\n')
        {
            self.keep(&rest[..end]);
            self.bytes += end + 1;
            rest = &rest[end + 1..];
            self.end_line();
            if self.interim > INTERIM_MAX {
                return false;
            }
        }
        if self.part != Part::Over {
            self.keep(rest);
            self.bytes += rest.len();
        }
        self.bytes <= HEADS_BYTES_MAX
    }

    /// The status of the final answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// The value of its `Retry-After`.
    pub(super) fn retry_after(&self) -> Option<String> {
        self.retry_after.clone()
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        match self.part {
            Part::StatusLine if line.is_empty() => {}
            Part::StatusLine => self.status_line(&line),
            Part::InterimFields if line.is_empty() => self.part = Part::StatusLine,
            Part::Fields if line.is_empty() => self.part = Part::Over,
            Part::Fields => self.field(&line),
            Part::InterimFields | Part::Over => {}
        }
        // The buffer is used again.
        line.clear();
        self.line = line;
    }

    fn status_line(&mut self, line: &[u8]) {
        match status_of(line) {
            // 101 ends HTTP on this connection.
            Some(status) if status < 200 && status != 101 => {
                self.interim += 1;
                self.part = Part::InterimFields;
            }
            Some(status) => {
                self.status = Some(status);
                self.part = Part::Fields;
            }
            None => self.part = Part::Over,
        }
    }

    fn field(&mut self, line: &[u8]) {
        const NAME: &[u8] = b"retry-after";
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        if line[..colon].trim_ascii().eq_ignore_ascii_case(NAME) {
            let value = String::from_utf8_lossy(line[colon + 1..].trim_ascii());
            self.retry_after = Some(value.into_owned());
        }
    }
}

/// The status of a line like `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let is_status =
        digits.iter().all(u8::is_ascii_digit) && matches!(reason.first(), None | Some(b' '));
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_status && status >= 100).then_some(status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Head {
        let mut head = Head::expected();
        assert!(head.push(bytes), "within the limits");
        head
    }

    #[test]
    fn status_is_that_of_the_final_answer() {
        for (text, status) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.1 204\n", Some(204)),
            ("HTTP/1.0 503 \r\nodd line\r\n", Some(503)),
            ("\r\n\r\nHTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.1 101 Switching\r\n", Some(101)),
            (
                "HTTP/1.1 103 Hints\r\nlink: a\r\n\r\nHTTP/1.1 429 No\r\n",
                Some(429),
            ),
            ("HTTP/1.1 103 Hints\r\n\r\n", None),
            // The line is not over yet.
            ("HTTP/1.1 200 OK", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 20 OK\r\n", None),
            ("HTTP/1.1 099 No\r\n", None),
            ("HTTP/1.1  200 OK\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("220 smtp.example\r\nHTTP/1.1 200 OK\r\n", None),
        ] {
            assert_eq!(read(text.as_bytes()).status(), status, "{text:?}");
        }
    }

    #[test]
    fn retry_after_is_read_from_the_final_head_alone() {
        let head = "HTTP/1.1 103 Hints\r\nretry-after: 1\r\n\r\nHTTP/1.1 503 No\r\nPHP Warning\r\n\
                    RETRY-AFTER : 20 \r\n\r\nretry-after: 3\r\n";
        assert_eq!(read(head.as_bytes()).retry_after().as_deref(), Some("20"));
    }

    #[test]
    fn floods_are_refused() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(usize::from(INTERIM_MAX) + 1);
        assert!(!Head::expected().push(&interim));
        let mut head = Head::expected();
        assert!(head.push(b"HTTP/1.1 200 OK\r\nx: "));
        let mut bearable = 0;
        while head.push(&[b'x'; 4096]) {
            bearable += 4096;
        }
        assert!(bearable < HEADS_BYTES_MAX);
        // A body has no such limit, and neither has what comes unasked.
        let mut head = read(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(head.push(&[b'\n'; 2 * HEADS_BYTES_MAX]));
        assert!(Head::default().push(&interim));
    }

    proptest! {
        #[test]
        fn pieces_read_like_the_whole(cut in 0_usize..80, bytes: Vec<u8>) {
            let mut text = b"HTTP/1.1 100 Go on\r\n\r\n".to_vec();
            text.extend(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\n");
            text.extend(&bytes);
            let (first, second) = text.split_at(cut.min(text.len()));
            let mut head = Head::expected();
            head.push(first);
            head.push(second);
            let whole = read(&text);
            prop_assert_eq!(head.status(), whole.status());
            prop_assert_eq!(head.retry_after(), whole.retry_after());
        }
    }
}
