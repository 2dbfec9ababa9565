//! A client of the API.

use serde_json::{Value, json};

use super::{App, eventually};

impl App {
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
            .get(&format!(
                "/api/webhooks/{id}/events?limit=250&include=payload"
            ))
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
