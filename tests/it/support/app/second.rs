//! Further processes on an app's bus and folders.

use std::process::Stdio;

use super::{App, Env, Node, free_address, logged_in};

impl App {
    /// Another process on the same bus and folders, with these roles.
    pub(crate) fn second(&self, roles: &str) -> Node {
        self.second_with(roles, &[])
    }

    /// The same with other settings for it.
    pub(crate) fn second_with(&self, roles: &str, settings: &[(&str, &str)]) -> Node {
        self.second_logging(roles, settings, Stdio::null()).0
    }

    /// The same with a place for its log, and the URL of its listener for probes.
    pub(crate) fn second_logging(
        &self,
        roles: &str,
        settings: &[(&str, &str)],
        log: Stdio,
    ) -> (Node, String) {
        let more = settings
            .iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), (*value).to_owned()));
        self.second_in_logging(roles, more.collect(), log)
    }

    /// The same in this environment.
    pub(crate) fn second_in(&self, roles: &str, more: Env) -> (Node, String) {
        self.second_in_logging(roles, more, Stdio::null())
    }

    fn second_in_logging(&self, roles: &str, more: Env, log: Stdio) -> (Node, String) {
        let admin = free_address();
        let mut env = logged_in(&self.env, &self.nats, roles);
        env.push(("WAHOOK__ADMIN__LISTEN".to_owned(), admin.clone()));
        env.extend(more);
        let admin = format!("http://{admin}");
        (
            Node::start_logging(&env, &["serve", "--roles", roles], &admin, log),
            admin,
        )
    }
}
