//! `wahook token`: creates, lists and revokes API tokens.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;

use super::{cli::TokenCommand, connect::connect};
use crate::{
    api,
    config::Config,
    model::{Scope, Token, TokenHash},
    telemetry::printable,
};

pub(super) async fn run(config: &Config, command: TokenCommand) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "wahook-token").await?;
    let tokens = bus.tokens();
    match command {
        TokenCommand::Create {
            client,
            scopes,
            name,
            expires_days,
        } => {
            bus.read_clock().await?;
            let now = bus.now();
            let (text, id) = api::token::generate();
            let token = Token {
                id,
                client_id: client,
                scopes: if scopes.is_empty() {
                    Scope::ALL.to_vec()
                } else {
                    scopes
                },
                name,
                created_at: now,
                expires_at: expires_days
                    .map(|days| now.after(Duration::from_secs(u64::from(days) * 86_400))),
            };
            tokens.put(&TokenHash::of(&text), &token).await?;
            eprintln!(
                "token {} for client {client}; it is shown this once:",
                token.id
            );
            println!("{text}");
        }
        TokenCommand::List => {
            for token in tokens.list().await? {
                let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                let expires = token
                    .expires_at
                    .map_or("never".to_owned(), |at| at.to_string());
                println!(
                    "{}\tclient {}\t{}\texpires {expires}\t{}",
                    printable(&token.id),
                    token.client_id,
                    scopes.join(","),
                    printable(&token.name)
                );
            }
        }
        TokenCommand::Revoke { id } => {
            if !tokens.revoke(&id).await? {
                bail!("no token has the id {id}; `wahook token list` shows them");
            }
            eprintln!("token {id} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}
