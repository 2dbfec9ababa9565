//! A caller of wahook's API.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use wahook::{
    api::token,
    bus::Bus,
    model::{Scope, Timestamp, Token, TokenHash},
};

use crate::{process::http_client, webhooks::client};

const WAIT_MAX: Duration = Duration::from_secs(300);

pub(crate) struct Caller {
    http: reqwest::Client,
    api: String,
    token: String,
}

pub(crate) type Asking<'a> = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<bool>> + 'a>>;

impl Caller {
    /// With a token for everything.
    pub(crate) async fn new(bus: &Bus, api: &str) -> anyhow::Result<Self> {
        let (text, id) = token::generate();
        let created_at = Timestamp::from_system(SystemTime::now());
        let name = "bench".to_owned();
        let scopes = Scope::ALL.to_vec();
        let token = Token {
            id,
            client_id: client(),
            scopes,
            name,
            created_at,
            expires_at: None,
        };
        bus.tokens().put(&TokenHash::of(&text), &token).await?;
        Ok(Self {
            http: http_client(),
            api: api.to_owned(),
            token: text,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .http
            .get(format!("{}{path}", self.api))
            .bearer_auth(&self.token)
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self
            .http
            .post(format!("{}{path}", self.api))
            .bearer_auth(&self.token)
            .json(body);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Asks again and again.
    pub(crate) async fn until<'a>(
        &'a self,
        mut ask: impl FnMut(&'a Self) -> Asking<'a>,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + WAIT_MAX;
        while !ask(self).await? {
            ensure!(Instant::now() < end, "not within {WAIT_MAX:?}");
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}
