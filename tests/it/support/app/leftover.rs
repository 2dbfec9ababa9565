//! Work that a test leaves in the streams: a message that nobody settles is a fault, or a test that
//! ends before what it started.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use crate::support::nats::NatsServer;

/// Streams that are empty once all work is done.
const STREAMS: [&str; 4] = ["WA_MSG", "WA_RETRY", "WA_CHAT", "WA_RESULT"];
/// Acknowledgements and results are under way when a test has seen what it waited for.
const SETTLE_MAX: Duration = Duration::from_secs(30);
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// Fails when there is work in a stream that does not go away.
pub(super) async fn assert_none(nats: &NatsServer) {
    let end = Instant::now() + SETTLE_MAX;
    loop {
        let left = left(nats).await;
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "the test leaves work in the streams: {left:?}. It ends too early, or says \
             `leaves_work`"
        );
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// The same on a thread of its own: the caller may be on a thread of a runtime, which must not wait
/// for another future.
pub(super) fn assert_none_blocking(nats: &NatsServer) {
    let ask = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(assert_none(nats));
    };
    let asked = thread::scope(|scope| scope.spawn(ask).join());
    if let Err(panic) = asked {
        std::panic::resume_unwind(panic);
    }
}

/// The streams that hold messages, with how many.
async fn left(nats: &NatsServer) -> BTreeMap<&'static str, u64> {
    let mut left = BTreeMap::new();
    for stream in STREAMS {
        let messages = nats.messages(stream).await;
        if messages > 0 {
            left.insert(stream, messages);
        }
    }
    left
}
