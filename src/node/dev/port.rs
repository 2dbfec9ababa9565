//! Which process listens at a port of this machine, as `/proc` shows it.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listener {
    /// Of the user that opened it.
    uid: u32,
    /// Unknown for a process of another user, and for one that is ending.
    process: Option<Process>,
}

#[derive(Debug, Clone, PartialEq)]
struct Process {
    pid: u32,
    name: String,
}

impl Listener {
    /// Whether the socket may belong to a process of this user that is ending: it has no files in
    /// `/proc` any longer, but its port is still open.
    pub(super) fn may_be_ending(&self) -> bool {
        self.process.is_none() && own_uid() == Some(self.uid)
    }

    /// Whether the socket belongs to this process.
    pub(super) fn is(&self, pid: u32) -> bool {
        self.process.as_ref().is_some_and(|one| one.pid == pid)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(Process { pid, name }) => write!(f, "{name} with process id {pid}"),
            None if own_uid() == Some(self.uid) => f.write_str("a process that does not end"),
            None => write!(f, "a process of the user with id {}", self.uid),
        }
    }
}

/// `None` when nothing listens, or there is no `/proc`.
pub(super) fn listener(port: u16) -> Option<Listener> {
    let (uid, inode) = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| find_socket(&fs::read_to_string(table).ok()?, port))?;
    let process = process_with(&format!("socket:[{inode}]"));
    Some(Listener { uid, process })
}

/// User id and inode of the socket that listens at the port. The columns are
/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode`.
fn find_socket(table: &str, port: u16) -> Option<(u32, u64)> {
    let local_port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let listens = columns.get(1)?.ends_with(&local_port) && *columns.get(3)? == LISTEN;
        let uid = columns.get(7)?.parse().ok()?;
        let inode = columns.get(9)?.parse().ok()?;
        listens.then_some((uid, inode))
    })
}

/// Only processes of the same user show their files.
fn process_with(socket: &str) -> Option<Process> {
    let folders = fs::read_dir("/proc").ok()?;
    folders.flatten().find_map(|folder| {
        let pid = folder.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(folder.path().join("fd")).ok()?.flatten();
        let has_it = files
            .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == Path::new(socket)));
        has_it.then(|| Process {
            pid,
            name: name_of(&folder.path()),
        })
    })
}

fn name_of(folder: &Path) -> String {
    let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    name.trim().to_owned()
}

fn own_uid() -> Option<u32> {
    let own: PathBuf = "/proc/self".into();
    own.metadata().ok().map(|metadata| metadata.uid())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listening_socket_leads_to_its_process() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let found = listener(port).expect("this process listens");
        assert!(found.is(std::process::id()) && !found.may_be_ending());
        let id = format!("with process id {}", std::process::id());
        assert!(found.to_string().ends_with(&id), "{found}");
        drop(socket);
        assert_eq!(listener(port), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_are_found() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1092 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 11 1
   1: 0100007F:1092 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 22 1
   2: 00000000:0092 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33 1
   3: broken
";
        assert_eq!(find_socket(table, 0x1092), Some((1000, 22)));
        assert_eq!(find_socket(table, 0x92), Some((0, 33)));
        assert_eq!(find_socket(table, 0xC350), None);
    }

    #[test]
    fn an_unknown_process_of_this_user_may_be_ending_and_one_of_another_user_is_named_so() {
        let own = own_uid().expect("Linux has /proc");
        let ending = Listener {
            uid: own,
            process: None,
        };
        assert!(ending.may_be_ending());
        let foreign = Listener {
            uid: own + 1,
            process: None,
        };
        assert!(!foreign.may_be_ending());
        let text = format!("a process of the user with id {}", own + 1);
        assert_eq!(foreign.to_string(), text);
    }
}
