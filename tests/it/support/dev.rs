//! `wahook dev` with a nats-server child of its own.

use tempfile::TempDir;

use super::process::{Env, Node, free_address};

/// Where it runs: each start has the same ports and data.
pub(crate) struct Dev {
    env: Env,
    admin: String,
    pub(crate) data: TempDir,
}

impl Dev {
    pub(crate) fn new() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let nats = free_address();
        let api = free_address();
        let admin = free_address();
        let path = |name: &str| data.path().join(name).display().to_string();
        let settings = [
            ("NATS__URL", format!("nats://{nats}")),
            ("API__LISTEN", api),
            ("ADMIN__LISTEN", admin.clone()),
            ("NODE__DATA_DIR", path("node")),
            ("NODE__DRAIN_DEADLINE", "7s".to_owned()),
            ("STORE__PATH", path("hooks.db")),
            ("WHATSAPP__SESSIONS_DIR", path("sessions")),
            ("DELIVER__TIMEOUT", "1s".to_owned()),
        ];
        let env: Env = settings
            .into_iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), value))
            .collect();
        let admin = format!("http://{admin}");
        Self { env, admin, data }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Node {
        self.start_with(&[]).await
    }

    /// The same with more variables.
    pub(crate) async fn start_with(&self, more: &[(&str, String)]) -> Node {
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        let env = self.env.iter().cloned().chain(more).collect();
        let mut node = Node::start(&env, &["dev"], &self.admin);
        node.ready().await;
        node
    }
}
