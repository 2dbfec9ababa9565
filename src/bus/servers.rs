//! Which of several servers to connect to when a connection is lost.

use std::sync::{Mutex, PoisonError};

use async_nats::{ReconnectToServer, Server, ServerAddr};
use rand::seq::SliceRandom as _;

#[derive(Default)]
struct Known {
    /// The one that was chosen last.
    chosen: Option<ServerAddr>,
    /// The one of the last connection.
    connected: Option<ServerAddr>,
}

/// Tries the server of the lost connection last: a server that hangs still takes connections, and
/// each try costs the whole `nats.connect_timeout`.
#[derive(Default)]
pub(super) struct ServerChoice(Mutex<Known>);

impl ServerChoice {
    /// There is a connection to the server that was chosen last.
    pub(super) fn connected(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.connected = known.chosen.clone();
    }

    /// The next one to try. `None` until there was a connection: the client tries all of them then.
    pub(super) fn choose(&self, mut pool: Vec<Server>) -> Option<ReconnectToServer> {
        let first = pool.iter().find(|server| server.did_connect)?.addr.clone();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing was chosen before the first connection was lost.
        let lost = known.connected.get_or_insert(first).clone();
        pool.shuffle(&mut rand::rng());
        let best = pool
            .into_iter()
            .min_by_key(|server| (server.addr == lost, server.failed_attempts))?;
        known.chosen = Some(best.addr.clone());
        Some(ReconnectToServer {
            addr: best.addr,
            // The client's own pauses, which grow.
            delay: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, did_connect: bool, failed_attempts: usize) -> Server {
        Server {
            addr: name.parse().expect("an address"),
            failed_attempts,
            did_connect,
            is_discovered: false,
            last_error: None,
        }
    }

    fn chosen(choice: &ServerChoice, pool: &[Server]) -> Option<String> {
        let next = choice.choose(pool.to_vec())?;
        Some(next.addr.host().to_owned())
    }

    #[test]
    fn the_server_of_the_lost_connection_is_tried_last() {
        for _ in 0..20 {
            let choice = ServerChoice::default();
            let never = [server("a", false, 0), server("b", false, 0)];
            assert_eq!(chosen(&choice, &never), None);
            choice.connected();
            let pool = [
                server("a", true, 0),
                server("b", false, 1),
                server("c", false, 2),
            ];
            // The first connection was to the only one that ever had one.
            assert_eq!(chosen(&choice, &pool).as_deref(), Some("b"));
            choice.connected();
            let pool = [server("a", true, 0), server("b", true, 0)];
            assert_eq!(chosen(&choice, &pool).as_deref(), Some("a"));
            // It could not be reached, and neither can the other.
            let pool = [server("a", true, 1), server("b", true, 0)];
            assert_eq!(chosen(&choice, &pool).as_deref(), Some("a"));
            assert_eq!(chosen(&choice, &pool[1..]).as_deref(), Some("b"));
        }
    }
}
