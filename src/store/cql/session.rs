//! Connecting, and what each kind of statement may take.

use std::{sync::Arc, time::Duration};

use scylla::{
    client::{
        execution_profile::{ExecutionProfile, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError,
        MetadataError, NewSessionError,
    },
    policies::speculative_execution::SimpleSpeculativeExecutionPolicy,
    statement::Consistency,
};
use tokio::time::timeout;

use crate::{
    config,
    store::{Error, ErrorKind},
};

/// Statements that change the schema wait for all nodes.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(60);
/// A read that takes longer is asked of another node as well.
const SECOND_READ_AFTER: Duration = Duration::from_millis(100);
/// Beyond connecting: reading the cluster's topology.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// How long statements may take, how often they are tried, and what counts as done. The timeout
/// covers the driver's own retries, too.
pub(super) struct Profiles {
    pub(super) write: ExecutionProfileHandle,
    pub(super) read: ExecutionProfileHandle,
    pub(super) schema: ExecutionProfileHandle,
}

impl Profiles {
    pub(super) fn new(settings: &config::Cql) -> Self {
        let with = |span| {
            ExecutionProfile::builder()
                .consistency(Consistency::LocalQuorum)
                .request_timeout(Some(span))
        };
        let second = SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: SECOND_READ_AFTER,
        };
        let read = with(settings.read_timeout).speculative_execution_policy(Some(Arc::new(second)));
        Self {
            write: with(settings.write_timeout).build().into_handle(),
            read: read.build().into_handle(),
            schema: with(SCHEMA_TIMEOUT).build().into_handle(),
        }
    }
}

/// A session without a keyspace.
///
/// # Errors
/// [`ErrorKind::Failed`] or [`ErrorKind::Timeout`] when no node answers: trying again may help.
/// [`ErrorKind::Open`] when the settings cannot work.
pub(super) async fn connect(settings: &config::Cql, profiles: &Profiles) -> Result<Session, Error> {
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.nodes)
        .connection_timeout(settings.connect_timeout)
        .schema_agreement_timeout(SCHEMA_TIMEOUT)
        .keyspaces_to_fetch([&settings.keyspace])
        .metadata_request_clientside_timeout(METADATA_TIMEOUT)
        // Below the other, so that a ScyllaDB node can say itself what took so long.
        .metadata_request_serverside_timeout(METADATA_TIMEOUT / 2)
        .default_execution_profile_handle(profiles.schema.clone())
        // The settings of this process are nobody else's concern.
        .driver_config_reporting(false);
    if let (Some(user), Some(password)) = (&settings.user, &settings.password) {
        builder = builder.user(user, password.expose());
    }
    if let Some(datacenter) = &settings.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    if settings.tls {
        builder = tls(builder, settings)?;
    }
    let deadline = settings.connect_timeout + METADATA_TIMEOUT;
    match timeout(deadline, builder.build()).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => {
            let text = reason(&error, settings);
            Err(Error::new(ErrorKind::Failed, text).because(error))
        }
        Err(_) => {
            let text = format!("cql.nodes: no answer within {} s", deadline.as_secs());
            Err(Error::new(ErrorKind::Timeout, text))
        }
    }
}

/// Why no session came about: names the setting to look at. None of this stops a node: a cluster
/// that lost its quorum refuses passwords, too, and a certificate that ran out is no reason to
/// deliver nothing.
fn reason(error: &NewSessionError, settings: &config::Cql) -> String {
    use ConnectionSetupRequestErrorKind::{DbError as Said, MissingAuthentication};

    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken {
            last_connection_error: last,
        },
    )) = error
    else {
        return format!("cql.nodes: {error}");
    };
    match last {
        ConnectionError::ConnectionSetupRequestError(setup) => match setup.get_error() {
            Said(DbError::AuthenticationError, said) => {
                return format!(
                    "cql.user, cql.password: the cluster refuses them ({said}); set those of a \
                     role that may log in"
                );
            }
            MissingAuthentication => {
                return "cql.user, cql.password: the cluster asks for them; set both".to_owned();
            }
            _ => {}
        },
        ConnectionError::IoError(io)
            if io
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            return format!(
                "cql.tls: {io}; cql.root_ca_file must hold the authority of the nodes' \
                 certificates, and these must \
                 name the nodes' IP addresses"
            );
        }
        _ => {}
    }
    let hint = if settings.tls {
        "do they have TLS? it is on in cql.tls"
    } else {
        "do they want TLS? it is off in cql.tls"
    };
    format!("cql.nodes: {last}; {hint}")
}

#[cfg(feature = "cql-tls")]
fn tls(builder: SessionBuilder, settings: &config::Cql) -> Result<SessionBuilder, Error> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    let path = settings
        .root_ca_file
        .as_deref()
        .unwrap_or_else(|| std::path::Path::new(""));
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        let text = format!("cql.root_ca_file {}: name a PEM file", path.display());
        Error::open(text).because(error)
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.into()))?
    {
        let certificate = certificate.map_err(|error| unusable(error.into()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.into()))?;
    }
    // Named, since two providers are compiled into this build.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::open("cql.tls: no TLS version is available").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(builder.tls_context(Some(Arc::new(client))))
}

#[cfg(not(feature = "cql-tls"))]
fn tls(_: SessionBuilder, _: &config::Cql) -> Result<SessionBuilder, Error> {
    // The settings' check says so first.
    Err(Error::open(
        "cql.tls: this wahook was built without the feature cql-tls",
    ))
}
