//! Log lines: JSON for machines, text for people, always to stderr: stdout belongs to what a
//! command was asked for.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter};

use crate::config::{Log, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is none.
    #[error("log.filter: {0}; write it like info,wahook::deliver=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is a logger already.
    #[error("logging is already set up in this process")]
    Again(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends log lines to stderr, as `log` says.
///
/// # Errors
/// When the filter cannot be parsed, or logging is already set up.
pub fn init(log: &Log) -> Result<(), Error> {
    let terminal = io::stderr().is_terminal();
    let subscriber = subscriber(log, terminal, io::stderr)?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(
    log: &Log,
    terminal: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = fmt()
        .with_env_filter(EnvFilter::try_new(&log.filter)?)
        .with_ansi(terminal)
        .with_writer(writer);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    Ok(if json {
        Box::new(builder.json().flatten_event(true).finish())
    } else {
        Box::new(builder.compact().finish())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no panic while locked")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, terminal: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log {
            filter: "info".into(),
            format,
        };
        let subscriber =
            subscriber(&log, terminal, move || writer.clone()).expect("the filter is right");
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("too quiet");
            tracing::info!(answer = 42, "said");
        });
        let bytes = lines.0.lock().expect("no panic while locked").clone();
        String::from_utf8(bytes).expect("log lines are UTF-8")
    }

    #[test]
    fn is_json_when_nobody_looks_or_asked_for() {
        for (format, terminal) in [
            (LogFormat::Auto, false),
            (LogFormat::Json, true),
            (LogFormat::Json, false),
        ] {
            let line: serde_json::Value =
                serde_json::from_str(&logged(format, terminal)).expect("one line of JSON");
            assert_eq!(
                (&line["message"], &line["answer"]),
                (&"said".into(), &42.into())
            );
        }
    }

    #[test]
    fn is_text_at_a_terminal_or_asked_for() {
        for (format, terminal) in [(LogFormat::Auto, true), (LogFormat::Text, false)] {
            let line = logged(format, terminal);
            assert!(line.contains("said") && !line.starts_with('{'), "{line}");
            assert_eq!(
                line.contains('\u{1b}'),
                terminal,
                "colours only at a terminal"
            );
        }
    }

    #[test]
    fn refuses_a_filter_that_is_none() {
        let log = Log {
            filter: "wahook=loud".into(),
            format: LogFormat::Auto,
        };
        let refused = subscriber(&log, false, io::sink)
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.starts_with("log.filter: ")));
    }
}
