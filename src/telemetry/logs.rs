//! Log lines: JSON for machines, text for people. They go to stderr, because stdout is for the
//! results of commands.
//!
//! Other crates are capped, whatever the filter says: at `debug` and `trace` they show subjects,
//! requests and messages, which contain phone numbers and texts. docs/logging.md lists the caps.
//!
//! Values that others wrote cannot forge a line or control a terminal: JSON escapes them, and the
//! text format passes every field through [`printable()`].

use std::io::{self, IsTerminal};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    filter::Targets,
    fmt::{self, FormatFields, MakeWriter, format},
    layer::SubscriberExt,
    registry,
};

use super::printable;
use crate::config::{Log, LogFormat};

/// The target of the lines of this crate and of its modules.
const OWN: &str = "wahook";
/// The highest level of all other crates. At `info` async-nats quotes errors of the server, and
/// these name subjects, which contain phone numbers.
const FOREIGN_MAX: LevelFilter = LevelFilter::WARN;
/// Crates whose lines are all dropped: even their warnings name accounts and URLs, and one line
/// shows the code that links an account. They write through the `log` crate, and its bridge gives
/// all lines the target `log`.
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

/// Whether `log.filter` can be parsed.
///
/// # Errors
/// [`Error::Filter`] when it cannot.
pub fn check_filter(log: &Log) -> Result<(), Error> {
    filter(log).map(drop)
}

/// Sends log lines to stderr, in the format and with the filter of `log`.
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
    let filtered = registry().with(filter(log)?).with(caps());
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
        Box::new(filtered.with(lines.compact().fmt_fields(printable_fields())))
    })
}

fn filter(log: &Log) -> Result<EnvFilter, Error> {
    Ok(EnvFilter::try_new(&log.filter)?)
}

/// `message a=1 b="two"`, with escapes in what others wrote. The layer's own format escapes texts,
/// but writes a value with `Display`, like an error, as it is.
fn printable_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    format::debug_fn(|writer, field, value| {
        let value = printable(format_args!("{value:?}"));
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    })
    .delimited(" ")
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
    fn a_value_that_others_wrote_forges_no_line_and_reaches_no_terminal() {
        let hostile = "x\u{1b}[2J\n2026-11-29 ERROR forged\u{202e}";
        for terminal in [true, false] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let log = Log {
                    filter: "info".into(),
                    format,
                };
                let text = lines_of(&log, terminal, || {
                    let span = tracing::error_span!("request", request.id = %hostile);
                    let _in_span = span.enter();
                    tracing::info!(error = %hostile, name = hostile, shown = ?hostile, "{hostile}");
                });
                assert_eq!(text.lines().count(), 1, "{text:?}");
                assert!(!text.contains("\u{1b}[2J"), "{text:?}");
                if format == LogFormat::Text {
                    assert!(!text.contains('\u{202e}'), "{text:?}");
                    assert!(text.contains("error=x\\u{1b}[2J\\n"), "{text:?}");
                }
            }
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
