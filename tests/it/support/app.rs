//! The real executable on a real nats-server, with free ports and a folder of its own.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    nats::NatsServer,
    process::{Env, LOG, Node, free_port, run, wahook},
};

/// How long anything may take that has no time of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// `wahook serve` with all roles, and what is needed to talk to it.
pub(crate) struct App {
    pub(crate) nats: NatsServer,
    pub(crate) api: String,
    pub(crate) admin: String,
    pub(crate) data: TempDir,
    http: reqwest::Client,
    env: Env,
    roles: &'static str,
    process: Node,
}

impl App {
    /// Starts it with quick retries, allowed to call loopback over plain http.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with more settings: `("DELIVER__TIMEOUT", "1s")`.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::playing("api,ingest,deliver,record", settings).await
    }

    /// The same with only these roles.
    pub(crate) async fn playing(roles: &'static str, settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        Self::on(NatsServer::start().await, roles, data, settings).await
    }

    async fn on(
        mut nats: NatsServer,
        roles: &'static str,
        data: TempDir,
        settings: &[(&str, &str)],
    ) -> Self {
        nats.keys_file = Some(data.path().join("secrets.keys"));
        let api = free_address();
        let admin = free_address();
        let mut env: Env = [
            ("NATS__URL", nats.url().as_str()),
            ("API__LISTEN", &api),
            ("ADMIN__LISTEN", &admin),
            ("NODE__DATA_DIR", &data.path().display().to_string()),
            (
                "STORE__PATH",
                &data.path().join("hooks.db").display().to_string(),
            ),
            (
                "WHATSAPP__SESSIONS_DIR",
                &data.path().join("sessions").display().to_string(),
            ),
            ("EGRESS__ALLOW_HTTP", "true"),
            ("EGRESS__ALLOW_CIDRS", "127.0.0.0/8"),
            ("DELIVER__RETRY_BASE", "500ms"),
            ("DELIVER__TIMEOUT", "2s"),
        ]
        .into_iter()
        .chain(settings.iter().copied())
        .map(|(key, value)| (format!("WAHOOK__{key}"), value.to_owned()))
        .collect();
        env.push(("NO_COLOR".to_owned(), "1".to_owned()));
        let http = http_client();
        run(&env, &["bus", "apply"]).await;
        let api = format!("http://{api}");
        let admin = format!("http://{admin}");
        let process = Node::start(&env, &["serve", "--roles", roles], &admin);
        let mut app = Self {
            nats,
            api,
            admin,
            data,
            http,
            env,
            roles,
            process,
        };
        app.process.ready().await;
        app
    }

    /// One whose WhatsApp is the stand-in.
    pub(crate) async fn on_whatsapp(
        server: &whatsapp_sim::Server,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::on_whatsapp_playing("api,ingest,deliver,record", server, settings).await
    }

    /// The same with these roles.
    pub(crate) async fn on_whatsapp_playing(
        roles: &'static str,
        server: &whatsapp_sim::Server,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::on_both(NatsServer::start().await, roles, server, settings).await
    }

    /// The same on this server.
    pub(crate) async fn on_both(
        nats: NatsServer,
        roles: &'static str,
        server: &whatsapp_sim::Server,
        settings: &[(&str, &str)],
    ) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let ca = data.path().join("whatsapp-ca.pem");
        std::fs::write(&ca, server.ca_pem()).expect("a writable folder");
        let url = server.url();
        let host = server.media_host();
        let file = ca.display().to_string();
        let own = [
            ("WHATSAPP__URL", url.as_str()),
            ("WHATSAPP__VERSION", "2.3000.1023223821"),
            ("WHATSAPP__MEDIA_HOST", &host),
            ("WHATSAPP__ROOT_CA_FILE", &file),
            ("WHATSAPP__CONNECTS_PER_SECOND", "1000"),
        ];
        Self::on(
            nats,
            roles,
            data,
            &own.into_iter()
                .chain(settings.iter().copied())
                .collect::<Vec<_>>(),
        )
        .await
    }

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
        let admin = free_address();
        let mut env = self.env.clone();
        env.push(("WAHOOK__ADMIN__LISTEN".to_owned(), admin.clone()));
        env.extend(
            settings
                .iter()
                .map(|(key, value)| (format!("WAHOOK__{key}"), (*value).to_owned())),
        );
        let admin = format!("http://{admin}");
        (
            Node::start_logging(&env, &["serve", "--roles", roles], &admin, log),
            admin,
        )
    }

    /// SIGKILL, and a new process with the same settings.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// A new process after [`App::terminate`] or [`App::kill`].
    pub(crate) async fn restart(&mut self) {
        self.process = Node::start(&self.env, &["serve", "--roles", self.roles], &self.admin);
        self.process.ready().await;
    }

    /// All that its processes have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join(LOG)).expect("it has logged")
    }

    /// Resident memory of the process.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.process.rss_bytes()
    }

    /// How much more than now is resident at any time while `work` runs; bytes.
    pub(crate) async fn rss_growth(&self, work: impl Future<Output = ()>) -> u64 {
        self.process.forget_peak();
        let before = self.process.rss_bytes();
        work.await;
        self.process.peak_rss_bytes().saturating_sub(before)
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.process.terminate().await
    }

    /// Runs another `wahook` command that is to fail; what it writes to both outputs.
    pub(crate) async fn failing_command(&self, arguments: &[&str]) -> String {
        let output =
            tokio::time::timeout(PATIENCE, wahook(&self.env).args(arguments).output()).await;
        let output = output
            .expect("ends in time")
            .expect("the executable starts");
        assert!(!output.status.success(), "wahook {arguments:?} succeeded");
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// Runs another `wahook` command with the same settings; its standard output.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        run(&self.env, arguments).await
    }

    /// The same, whatever comes of it: exit code, standard output, standard error. With more
    /// settings.
    pub(crate) async fn attempt(
        &self,
        arguments: &[&str],
        more: &[(&str, String)],
    ) -> (Option<i32>, String, String) {
        let more = more
            .iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), value.clone()));
        let env: Vec<_> = self.env.iter().cloned().chain(more).collect();
        let output = tokio::time::timeout(PATIENCE, wahook(&env).args(arguments).output()).await;
        let output = output
            .expect("ends in time")
            .expect("the executable starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// A caller of the API with a new token for this client, with every scope.
    pub(crate) async fn client(&self, id: u64) -> Client {
        self.client_with(id, &[]).await
    }

    /// The same with only these scopes.
    pub(crate) async fn client_with(&self, id: u64, scopes: &[&str]) -> Client {
        self.client_by(id, scopes, &[]).await
    }

    /// The same, its token made with more settings.
    pub(crate) async fn client_by(
        &self,
        id: u64,
        scopes: &[&str],
        more: &[(&str, String)],
    ) -> Client {
        let id = id.to_string();
        let scopes = scopes.join(",");
        let mut arguments = vec!["token", "create", "--client", &id];
        if !scopes.is_empty() {
            arguments.extend(["--scopes", &scopes]);
        }
        let (code, output, said) = self.attempt(&arguments, more).await;
        assert_eq!(code, Some(0), "{said}");
        let token = output.lines().last().expect("the token's line").to_owned();
        Client {
            api: self.api.clone(),
            token,
            http: self.http.clone(),
        }
    }
}

impl Drop for App {
    /// Tells what its processes said last, when the test has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.data.path().join(LOG)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "the last of its log:\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}

/// One client of the API.
pub(crate) struct Client {
    api: String,
    pub(crate) token: String,
    http: reqwest::Client,
}

impl Client {
    /// Status and JSON body (null when there is none).
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, text) = self.send(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Status and body of a GET.
    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        self.send("GET", path, None).await
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let method = method.parse().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.api))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the API answers");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Registers a webhook; its JSON, the signing secret with it.
    pub(crate) async fn register(&self, phone: &str, url: &str) -> Value {
        self.register_with(json!({"phone_number": phone, "webhook_url": url}))
            .await
    }

    pub(crate) async fn register_with(&self, body: Value) -> Value {
        let (status, answer) = self
            .call("POST", "/api/webhooks/register", Some(body))
            .await;
        assert!(status == 201 || status == 200, "{status}: {answer}");
        answer
    }

    /// Registers a webhook that gets each chat's messages in order.
    pub(crate) async fn register_ordered(&self, phone: &str, url: &str) -> Value {
        let body = json!({
            "phone_number": phone,
            "webhook_url": url,
            "ordering": "chat",
            "max_retries": 3,
        });
        let webhook = self.register_with(body).await;
        assert_eq!(webhook["ordering"], "chat");
        webhook
    }

    /// Publishes a text message.
    pub(crate) async fn publish(&self, phone: &str, id: &str) -> Value {
        self.publish_from(phone, "4915100000001", id, "text").await
    }

    /// Publishes a message of this type in the chat with this number.
    pub(crate) async fn publish_from(
        &self,
        phone: &str,
        chat: &str,
        id: &str,
        kind: &str,
    ) -> Value {
        let body = json!({
            "phone_number": phone, "message_id": id, "from": chat, "type": kind,
            "content": format!("hello {id}"),
        });
        let (status, answer) = self.call("POST", "/api/messages", Some(body)).await;
        assert_eq!(status, 202, "{answer}");
        answer
    }

    /// The events of a webhook, newest first.
    pub(crate) async fn events(&self, webhook: &Value) -> Vec<Value> {
        let id = webhook["id"].as_str().expect("an id");
        let page = self
            .get(&format!("/api/webhooks/{id}/events?limit=250"))
            .await;
        page["data"].as_array().expect("a list").clone()
    }

    /// Waits until the event of this message stands so; the event with all its attempts.
    pub(crate) async fn event_when(&self, webhook: &Value, message: &str, status: &str) -> Value {
        let found = eventually(&format!("{message} is {status}"), async || {
            let events = self.events(webhook).await;
            events
                .into_iter()
                .find(|event| event["message_id"] == message && event["status"] == status)
        })
        .await;
        self.get(&format!(
            "/api/webhooks/events/{}",
            found["id"].as_str().expect("an id")
        ))
        .await
    }
}

/// `wahook dev` with a nats-server child of its own; started again after SIGKILL on the same ports
/// and data.
pub(crate) async fn dev_survives_a_kill() {
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
        ("STORE__PATH", path("hooks.db")),
        ("WHATSAPP__SESSIONS_DIR", path("sessions")),
    ];
    let env: Env = settings
        .into_iter()
        .map(|(key, value)| (format!("WAHOOK__{key}"), value))
        .collect();
    let admin = format!("http://{admin}");
    for _ in 0..2 {
        let mut node = Node::start(&env, &["dev"], &admin);
        node.ready().await;
        // The nats-server child stays behind, and has to be found and ended by the next.
        node.kill().await;
    }
    let mut node = Node::start(&env, &["dev"], &admin);
    node.ready().await;
    assert_eq!(node.terminate().await, Some(0));
}

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

pub(crate) fn http_client() -> reqwest::Client {
    // Only loopback is called, but the client wants a TLS provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("a plain client")
}

fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}
