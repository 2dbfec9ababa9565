//! The snippets of docs/receiving-webhooks.md do what they say, each in its own language.

use std::{fs, path::Path, process::Command};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIMESTAMP: &str = "1614265330";
const BODY: &str = r#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const KEY_SIGNATURE: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

/// The one block that is marked so: `javascript verify`.
fn snippet(mark: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/receiving-webhooks.md");
    let text = fs::read_to_string(document).expect("the document");
    let (_, rest) = text.split_once(&format!("```{mark}\n")).expect("a snippet");
    rest.split_once("\n```").expect("its end").0.to_owned()
}

/// Runs a program in a language that is on this machine; a missing one fails in CI and is named
/// elsewhere.
fn run(program: &str, arguments: &[&str], file: &str, source: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(file), source).expect("writes");
    let started = Command::new(program)
        .args(arguments)
        .arg(file)
        .current_dir(folder.path())
        .output();
    let output = match started {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none() => {
            return println!("NOT RUN: no {program} here: {error}");
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Accepted; refused with another body; refused ten minutes later; accepted beside a second
    // signature.
    assert_eq!(
        stdout.to_lowercase().trim(),
        "true false false true",
        "{stderr}"
    );
}

#[test]
fn python() {
    let source = format!(
        "{}\nh = {{'webhook-id': '{ID}', 'webhook-timestamp': '{TIMESTAMP}', 'webhook-signature': \
         '{SIGNATURE}'}}\n\
         b = b'{BODY}'\n\
         two = dict(h, **{{'webhook-signature': 'v1,AAAA {SIGNATURE}'}})\n\
         s, t = '{SECRET}', {TIMESTAMP}\n\
         print(verify(s, h, b, t), verify(s, h, b + b' ', t), verify(s, h, b, t + 600), verify(s, \
         two, b, t))\n",
        snippet("python verify")
    );
    run("python3", &[], "snippet.py", &source);
}

fn node_source(mark: &str, secret: &str, signature: &str) -> String {
    format!(
        "{}\nconst h = {{'webhook-id': '{ID}', 'webhook-timestamp': '{TIMESTAMP}', \
         'webhook-signature': '{signature}'}};\n\
         const b = Buffer.from('{BODY}'), s = '{secret}', t = {TIMESTAMP};\n\
         const two = {{...h, 'webhook-signature': 'v1,AAAA {signature}'}};\n\
         const other = Buffer.concat([b, Buffer.from(' ')]);\n\
         console.log(verify(s, h, b, t), verify(s, h, other, t), verify(s, h, b, t + 600), \
         verify(s, two, b, t));\n",
        snippet(mark)
    )
}

#[test]
fn node() {
    run(
        "node",
        &[],
        "snippet.js",
        &node_source("javascript verify", SECRET, SIGNATURE),
    );
    run(
        "node",
        &[],
        "snippet.js",
        &node_source("javascript verify-ed25519", PUBLIC_KEY, KEY_SIGNATURE),
    );
}

fn go_source(mark: &str, imports: &[&str], secret: &str, signature: &str) -> String {
    format!(
        "package main\n\nimport \
         (\n{}\n\"encoding/base64\"\n\"fmt\"\n\"strconv\"\n\"strings\"\n)\n\n{}\n\n\
         func main() {{\n\
         h := map[string]string{{\"webhook-id\": \"{ID}\", \"webhook-timestamp\": \
         \"{TIMESTAMP}\", \"webhook-signature\": \"{signature}\"}}\n\
         two := map[string]string{{\"webhook-id\": \"{ID}\", \"webhook-timestamp\": \
         \"{TIMESTAMP}\", \"webhook-signature\": \"v1,AAAA {signature}\"}}\n\
         b, s, t := []byte(`{BODY}`), \"{secret}\", int64({TIMESTAMP})\n\
         fmt.Println(verify(s, h, b, t), verify(s, h, []byte(`{BODY} `), t), verify(s, h, b, \
         t+600), verify(s, two, b, t))\n}}\n",
        imports.join("\n"),
        snippet(mark)
    )
}

#[test]
fn go() {
    let imports = ["\"crypto/hmac\"", "\"crypto/sha256\""];
    run(
        "go",
        &["run"],
        "main.go",
        &go_source("go verify", &imports, SECRET, SIGNATURE),
    );
    let source = go_source(
        "go verify-ed25519",
        &["\"crypto/ed25519\""],
        PUBLIC_KEY,
        KEY_SIGNATURE,
    );
    run("go", &["run"], "main.go", &source);
}

/// A copy of the snippet; the test below holds that it is one.
mod copied {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    pub(super) fn verify(
        secret: &str,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: i64,
    ) -> bool {
        let fresh = timestamp
            .parse::<i64>()
            .is_ok_and(|at| (now - at).abs() <= 300);
        let Ok(key) = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")) else {
            return false;
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        let is_ours = |one: &str| {
            let given = one
                .strip_prefix("v1,")
                .and_then(|text| BASE64_STANDARD.decode(text).ok());
            given.is_some_and(|given| mac.clone().verify_slice(&given).is_ok())
        };
        fresh && signatures.split(' ').any(is_ours)
    }
}

#[test]
fn rust() {
    let bare =
        |text: &str| -> String { text.replace("pub(super) ", "").split_whitespace().collect() };
    assert!(
        bare(include_str!("snippets.rs")).contains(&bare(&snippet("rust verify"))),
        "the copy differs from the document"
    );
    let at: i64 = TIMESTAMP.parse().expect("a number");
    let verify = |signatures: &str, body: &str, now| {
        copied::verify(SECRET, ID, TIMESTAMP, signatures, body.as_bytes(), now)
    };
    assert!(verify(SIGNATURE, BODY, at));
    assert!(!verify(SIGNATURE, &format!("{BODY} "), at));
    assert!(!verify(SIGNATURE, BODY, at + 600));
    assert!(verify(&format!("v1,AAAA {SIGNATURE}"), BODY, at));
}
