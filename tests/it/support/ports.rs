//! Ports for servers of other processes. The load tools use this file, too.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A port on loopback that is free; `None` when none of 20 000 is. It is below the range from which
/// the kernel takes ports for connections and for port 0: otherwise something else could take it
/// before the server starts.
pub(crate) fn free_port() -> Option<u16> {
    static CHOSEN: AtomicU32 = AtomicU32::new(0);
    // Several executables may choose ports at the same time.
    let offset = std::process::id().wrapping_mul(541);
    let next = || FIRST + offset.wrapping_add(CHOSEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
    std::iter::repeat_with(next)
        .take(COUNT as usize)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}
