//! Log lines: JSON for machines, text for people, always to stderr: stdout belongs to what a
//! command was asked for.
//!
//! Other crates are capped, whatever the filter says: at `debug` and `trace` they show subjects,
//! requests and messages, which hold phone numbers and texts. docs/logging.md lists the caps.

use std::io::{self, IsTerminal};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    registry,
};

use crate::config::{Log, LogFormat};

/// The target of this crate's lines, and of its modules'.
const OWN: &str = "wahook";
/// What all other crates may say at most. At `info` async-nats quotes the server's errors, and
/// these name subjects, which hold phone numbers.
const FOREIGN_MAX: LevelFilter = LevelFilter::WARN;
/// These say nothing: even their warnings name accounts and URLs, and one line of theirs shows
/// the code that links an account. They write through the `log` crate, whose bridge calls all of
/// its lines `log`.
const SILENT: [&str; 4] = ["whatsapp_rust", "wacore", "waproto", "log"];

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be parsed.
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
    // Both must let an event through: the filter cannot raise the caps.
    let filtered = registry()
        .with(EnvFilter::try_new(&log.filter)?)
        .with(caps());
    let lines = fmt::layer().with_ansi(terminal).with_writer(writer);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    Ok(if json {
        let lines = lines.json().flatten_event(true).with_current_span(false);
        Box::new(filtered.with(lines))
    } else {
        Box::new(filtered.with(lines.compact()))
    })
}

fn caps() -> Targets {
    let silent = SILENT.map(|target| (target, LevelFilter::OFF));
    Targets::new()
        .with_default(FOREIGN_MAX)
        .with_target(OWN, LevelFilter::TRACE)
        .with_targets(silent)
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

    /// What is written while `say` runs.
    fn lines_of(log: &Log, terminal: bool, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            subscriber(log, terminal, move || writer.clone()).expect("the filter is right");
        tracing::subscriber::with_default(subscriber, say);
        let bytes = lines.0.lock().expect("no panic while locked").clone();
        String::from_utf8(bytes).expect("log lines are UTF-8")
    }

    fn logged(format: LogFormat, terminal: bool) -> String {
        let log = Log {
            filter: "info".into(),
            format,
        };
        lines_of(&log, terminal, || {
            tracing::debug!("too quiet");
            tracing::info!(answer = 42, "said");
        })
    }

    #[test]
    fn foreign_crates_stay_below_their_caps_whatever_the_filter_says() {
        let filters = [
            "trace",
            "trace,async_nats=trace,hyper_util=trace,whatsapp_rust=trace,wacore=trace,log=trace",
            "trace,[foreign{subject}]=trace",
        ];
        for filter in filters {
            let log = Log {
                filter: filter.into(),
                format: LogFormat::Json,
            };
            let text = lines_of(&log, false, || {
                let span = tracing::trace_span!(target: "async_nats", "foreign", subject = "leak");
                let _in_span = span.enter();
                tracing::info!(target: "async_nats", "leak at info");
                tracing::debug!(target: "async_nats::jetstream", "leak at debug");
                tracing::trace!(target: "hyper_util::client", "leak at trace");
                tracing::error!(target: "whatsapp_rust::message", "leak of a text");
                tracing::error!(target: "wacore::pair", "leak of a code");
                tracing::error!(target: "log", "leak through the bridge");
                tracing::warn!(target: "scylla::cluster", "a node is down");
                tracing::trace!(target: "wahook", "ours");
                tracing::trace!(target: "wahook::deliver", "ours too");
            });
            assert!(!text.contains("leak"), "{filter}: {text}");
            for said in ["a node is down", "ours\"", "ours too"] {
                assert!(text.contains(said), "{filter}: no {said} in {text}");
            }
        }
    }

    #[test]
    fn a_line_carries_the_fields_of_its_spans() {
        let log = Log {
            filter: "info".into(),
            format: LogFormat::Json,
        };
        let text = lines_of(&log, false, || {
            let span = tracing::error_span!("request", request.id = "r-1");
            span.in_scope(|| tracing::info!("said"));
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        let request = serde_json::json!({"name": "request", "request.id": "r-1"});
        assert_eq!(line["spans"], serde_json::json!([request]));
    }

    #[test]
    fn lines_are_json_without_a_terminal_or_when_the_setting_says_so() {
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
    fn lines_are_text_at_a_terminal_or_when_the_setting_says_so() {
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
    fn a_filter_that_cannot_be_parsed_is_refused() {
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
