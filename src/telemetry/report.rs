//! Errors as log lines show them.

use std::error::Error;

/// The text of an error and of all its causes, on one line.
///
/// A cause that the text before it already contains is omitted, because some libraries show their
/// causes themselves.
pub fn report(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Debug, Display};

    use super::*;

    #[derive(Debug)]
    struct Level(&'static str, Option<Box<Level>>);

    impl Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Level {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            let cause: &Level = self.1.as_deref()?;
            Some(cause)
        }
    }

    #[test]
    fn causes_follow_their_error_and_none_is_shown_twice() {
        let disk = Level("disk full", None);
        let write = Level("write failed: disk full", Some(Box::new(disk)));
        let store = Level("the store failed", Some(Box::new(write)));
        assert_eq!(report(&store), "the store failed: write failed: disk full");
    }
}
