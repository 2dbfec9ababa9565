//! Three servers as `nats/cluster.conf` sets them up, and each role as a process of its own under
//! the user that the file gives it.

#[cfg(feature = "whatsapp")]
mod features;
mod permissions;
