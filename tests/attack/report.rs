//! The line that each attack prints, and what it is judged by.

use std::{collections::BTreeMap, io::Write as _, sync::Mutex, time::Duration};

use serde_json::{Value, json};

/// How much of a quiet run's p99 the victim may wait under attack, and what is added to it.
const P99_FACTOR: f64 = 1.5;
const P99_MORE: Duration = Duration::from_millis(20);
/// What a call of the victim's may take.
const CALL_MAX: Duration = Duration::from_secs(1);
/// Resident memory of the process.
const RSS_BYTES_MAX: u64 = 400 << 20;

/// Whether times and memory are judged: only where the executable is what users run.
pub(crate) fn is_strict() -> bool {
    std::env::var_os("ATTACK_WAHOOK").is_some()
}

/// What the attacker was answered: statuses and how often; 0 without an answer.
#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<u16, u64>>);

impl Tally {
    pub(crate) fn note(&self, status: u16) {
        let mut counts = self.0.lock().expect("no panic while held");
        *counts.entry(status).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<u16, u64> {
        self.0.lock().expect("no panic while held").clone()
    }
}

/// The victim's figures in one stretch of time.
pub(crate) struct Figures {
    pub(crate) accepted: usize,
    pub(crate) refused: Vec<u16>,
    pub(crate) failed_probes: usize,
    pub(crate) lost: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) call_max: Duration,
}

impl Figures {
    pub(crate) fn json(&self) -> Value {
        let millis = |duration: Duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0;
        json!({
            "accepted": self.accepted, "refused": self.refused.len(), "lost": self.lost,
            "p50_ms": millis(self.p50), "p99_ms": millis(self.p99),
            "call_max_ms": millis(self.call_max),
            "failed_probes": self.failed_probes,
        })
    }
}

/// What one attack did.
pub(crate) struct Report {
    pub(crate) attack: &'static str,
    pub(crate) quiet: Figures,
    pub(crate) under_attack: Figures,
    pub(crate) answers: BTreeMap<u16, u64>,
    /// Whether the attacker's token was refused after its revocation.
    pub(crate) revoked: bool,
    pub(crate) rss_peak_bytes: u64,
    pub(crate) panics: usize,
}

impl Report {
    /// Prints the line, and judges.
    ///
    /// # Panics
    /// With everything that does not hold.
    pub(crate) fn judge(&self) {
        let line = json!({
            "attack": self.attack, "quiet": self.quiet.json(),
            "under_attack": self.under_attack.json(), "attacker_was_answered": self.answers,
            "revoked": self.revoked, "rss_peak_mib": self.rss_peak_bytes >> 20,
        });
        // Straight to the terminal: the line belongs to the record of passing runs, too.
        let _ = writeln!(std::io::stdout(), "{line}");
        let faults = self.faults();
        assert!(faults.is_empty(), "{}: {faults:?}\n{line}", self.attack);
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut hold = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        let seen = &self.under_attack;
        hold(
            seen.lost == 0,
            format!("{} of the victim's messages lost", seen.lost),
        );
        hold(seen.accepted > 0, "the victim published nothing".to_owned());
        hold(
            seen.refused.is_empty(),
            format!("the victim was refused: {:?}", seen.refused),
        );
        hold(
            seen.failed_probes == 0,
            format!("{} probes of readiness failed", seen.failed_probes),
        );
        hold(self.revoked, "the attacker's token still works".to_owned());
        hold(
            self.panics == 0,
            format!("{} panics in the log", self.panics),
        );
        let errors = self
            .answers
            .keys()
            .filter(|status| **status >= 500 && **status != 503);
        let errors: Vec<_> = errors.collect();
        hold(errors.is_empty(), format!("server errors: {errors:?}"));
        if is_strict() {
            let most = self.quiet.p99.mul_f64(P99_FACTOR) + P99_MORE;
            hold(
                seen.p99 <= most,
                format!("p99 {:?}, at most {most:?}", seen.p99),
            );
            hold(
                seen.call_max < CALL_MAX,
                format!("a call took {:?}", seen.call_max),
            );
            hold(
                self.rss_peak_bytes <= RSS_BYTES_MAX,
                format!("{} MiB resident", self.rss_peak_bytes >> 20),
            );
        }
        faults
    }
}

/// The duration that this share of all does not exceed; zero without any.
pub(crate) fn quantile(durations: &[Duration], share: f64) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
