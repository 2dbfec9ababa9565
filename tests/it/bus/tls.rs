//! The bus behind TLS, by the real executable.

use crate::support::{app::eventually, certificates, nats::NatsServer, process::wahook};

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_with_tls_is_used_and_one_of_an_unknown_authority_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates::write(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let options = [
        "--tls",
        "--tlscert",
        &file("node.crt"),
        "--tlskey",
        &file("node.key"),
    ]
    .map(str::to_owned);
    let nats = NatsServer::with(options.to_vec()).await;
    let apply = async |authority: &str| {
        let env = vec![
            (
                "WAHOOK__NATS__URL".to_owned(),
                nats.url().replace("nats:", "tls:"),
            ),
            ("WAHOOK__NATS__ROOT_CA_FILE".to_owned(), file(authority)),
        ];
        let output = wahook(&env)
            .args(["bus", "apply"])
            .output()
            .await
            .expect("the executable starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    eventually("the streams are declared", async || {
        (apply("ca.pem").await.0 == Some(0)).then_some(())
    })
    .await;
    let (code, said) = apply("other.pem").await;
    assert!(
        code == Some(1) && !said.contains("panic"),
        "{code:?} {said}"
    );
}
