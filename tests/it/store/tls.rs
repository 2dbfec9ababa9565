//! A cluster that wants TLS and a password.

use tempfile::TempDir;
use wahook::{model::EventStatus::Delivered, store, tasks::Tasks};

use super::contract::attempt;
use crate::support::{
    app::{App, eventually},
    cassandra::{self, Keyspace, Node},
    certificates,
};

/// The superuser that Cassandra makes for itself.
const USER: &str = "cassandra";

/// The node, and the files around it.
struct Guarded {
    node: Node,
    folder: TempDir,
}

impl Guarded {
    async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        certificates::write(folder.path());
        let more = folder.path().join("more.yaml");
        let text = format!(
            "authenticator: PasswordAuthenticator\n\
             client_encryption_options: {{enabled: true, optional: false, keystore: {}, \
             ssl_context_factory: \
             {{class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}}}}\n",
            folder.path().join("node.pem").display()
        );
        std::fs::write(&more, text).expect("is written");
        Some(Self {
            node: cassandra::apart(more).await?,
            folder,
        })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn settings(&self, authority: &str, password: &str) -> Vec<(&'static str, String)> {
        let keyspace = Keyspace {
            port: self.node.port,
            name: "guarded".to_owned(),
        };
        let more = [
            ("CQL__TLS", "true".to_owned()),
            ("CQL__ROOT_CA_FILE", self.file(authority)),
            ("CQL__USER", USER.to_owned()),
            ("CQL__PASSWORD", password.to_owned()),
        ];
        keyspace.settings().into_iter().chain(more).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls_and_a_password_is_used_and_what_is_wrong_is_named() {
    let Some(guarded) = Guarded::start().await else {
        return;
    };
    let app = App::playing("api", &[]).await;
    let right = guarded.settings("ca.pem", USER);
    // The superuser is made a little after the port opens.
    eventually("the password is known", async || {
        let (code, _, _) = app
            .attempt(&["migrate", "--create-keyspace", "1"], &right)
            .await;
        (code == Some(0)).then_some(())
    })
    .await;

    let migrate = async |settings: &[(&'static str, String)]| {
        let (code, _, stderr) = app.attempt(&["migrate"], settings).await;
        assert_eq!(code, Some(1), "{stderr}");
        stderr
    };
    let said = migrate(&guarded.settings("ca.pem", "wrong")).await;
    assert!(
        said.contains("cql.user, cql.password: the cluster refuses them"),
        "{said}"
    );
    assert!(!said.contains("wrong"), "the password is not shown: {said}");
    let said = migrate(&guarded.settings("other.pem", USER)).await;
    assert!(
        said.contains("cql.tls: ") && said.contains("cql.root_ca_file"),
        "{said}"
    );
    let without = |names: &[&str]| -> Vec<_> {
        right
            .iter()
            .filter(|(name, _)| !names.contains(name))
            .cloned()
            .collect()
    };
    let said = migrate(&without(&["CQL__USER", "CQL__PASSWORD"])).await;
    assert!(
        said.contains("cql.user, cql.password: the cluster asks for them"),
        "{said}"
    );
    let said = migrate(&without(&["CQL__TLS"])).await;
    assert!(said.contains("do they want TLS?"), "{said}");
    let said = migrate(&guarded.settings("nothing.pem", USER)).await;
    assert!(
        said.contains("cql.root_ca_file") && said.contains("name a PEM file"),
        "{said}"
    );
    store_works(&right).await;
}

/// An attempt is written and read with these settings.
async fn store_works(settings: &[(&'static str, String)]) {
    let env = settings
        .iter()
        .map(|(key, value)| (format!("WAHOOK__{key}"), value.clone()))
        .collect();
    let config = wahook::config::Sources {
        env,
        ..wahook::config::Sources::default()
    };
    let config = wahook::config::Config::load(&config).expect("valid settings");
    let store = store::open(&config.store, &config.cql, &Tasks::default())
        .await
        .expect("opens");
    let one = attempt(1, 1, Delivered, 1);
    store.record(vec![one.clone()]).await.expect("writes");
    let delivery = &one.delivery;
    let event = store
        .event(delivery.client_id, delivery.webhook_id, delivery.event_id)
        .await
        .expect("answers");
    assert_eq!(event.expect("is there").attempts, [one]);
}
