//! The login to the nats-server of `wahook dev`.
//!
//! Without one, each user of the machine could write tokens into the registry. The login is in a
//! file that only the user of `dev` can read. Commands like `wahook token` read it, and a shell
//! can: `. data/nats/cli.env` sets the variables that the nats CLI knows.

use std::{io::ErrorKind, path::Path};

use anyhow::{Context, bail};

use super::super::data_dir::write_private;
use crate::{config::Nats, model::Secret};

/// Below the folder of the server.
const FILE: &str = "cli.env";
const USER: &str = "wahook";
const PASSWORD_BYTES: usize = 32;

/// User and password.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Login {
    /// The login that the settings name; else the one of the file, which is created if it is
    /// missing.
    pub(super) fn find_or_create(nats: &Nats, folder: &Path) -> anyhow::Result<Self> {
        if nats.credentials_file.is_some() {
            bail!(
                "nats.credentials_file is set, and the nats-server of `wahook dev` knows a user \
                 and a password only: unset it, and set nats.user and nats.password if you want \
                 to choose them"
            );
        }
        if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
            return Ok(Self {
                user: user.clone(),
                password: password.clone(),
            });
        }
        let file = folder.join(FILE);
        let password = match read(&file)? {
            Some(stored) => stored.password,
            None => Secret::new(random_password()),
        };
        let login = Self {
            user: USER.to_owned(),
            password,
        };
        // Written also if it exists: the address may be a new one.
        write_private(&file, &login.to_file(&nats.url, &file))?;
        Ok(login)
    }

    /// The login to the server at `nats.url`, if `wahook dev` started that server in this folder.
    pub(super) fn of_server(nats: &Nats, folder: &Path) -> anyhow::Result<Option<Self>> {
        let stored = read(&folder.join(FILE))?;
        let same = stored.filter(|stored| stored.url == nats.url);
        Ok(same.map(|stored| Self {
            user: stored.user,
            password: stored.password,
        }))
    }

    /// As settings of nats-server.
    pub(super) fn to_server_settings(&self) -> anyhow::Result<String> {
        let user = quoted(&self.user).context("nats.user")?;
        let password = quoted(self.password.expose()).context("nats.password")?;
        Ok(format!(
            "\nauthorization {{\n  user: {user}\n  password: {password}\n}}\n"
        ))
    }

    fn to_file(&self, url: &str, file: &Path) -> String {
        format!(
            "# The login to the nats-server of `wahook dev`. For the nats CLI:\n\
             #   . {}\n\
             export NATS_URL='{url}'\n\
             export NATS_USER='{}'\n\
             export NATS_PASSWORD='{}'\n",
            file.display(),
            self.user,
            self.password.expose()
        )
    }
}

/// What the file has.
struct Stored {
    url: String,
    user: String,
    password: Secret,
}

/// `None` if there is no such file, or it was changed beyond recognition.
fn read(file: &Path) -> anyhow::Result<Option<Stored>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "reading {}, which only the user of `wahook dev` can; run this as that user, \
                     or set nats.user and nats.password",
                    file.display()
                )
            });
        }
    };
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("export ")?.strip_prefix(name))?;
        let value = line.strip_prefix("='")?.strip_suffix('\'')?;
        Some(value.to_owned()).filter(|value| !value.is_empty())
    };
    let stored = || {
        Some(Stored {
            url: value("NATS_URL")?,
            user: value("NATS_USER")?,
            password: Secret::new(value("NATS_PASSWORD")?),
        })
    };
    Ok(stored())
}

fn random_password() -> String {
    let bytes: [u8; PASSWORD_BYTES] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A string of the server's settings. It has no escapes for control characters, and takes a
/// password that begins with `$2` for a bcrypt hash.
fn quoted(text: &str) -> anyhow::Result<String> {
    if text.chars().any(char::is_control) || text.starts_with("$2") {
        bail!("it must not contain control characters or begin with $2: choose another one");
    }
    Ok(format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_file_is_private_keeps_its_password_and_counts_for_its_server_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut nats = Config::default().nats;
        let none = Login::of_server(&nats, folder.path()).expect("no file is no error");
        assert_eq!(none, None);

        let first = Login::find_or_create(&nats, folder.path()).expect("a writable folder");
        assert_eq!(first.password.expose().len(), 2 * PASSWORD_BYTES);
        let mode = |file: &Path| file.metadata().expect("it exists").permissions().mode();
        assert_eq!(mode(&folder.path().join(FILE)) & 0o777, 0o600);
        let found = Login::of_server(&nats, folder.path()).expect("it can be read");
        assert_eq!(found.as_ref(), Some(&first));
        let again = Login::find_or_create(&nats, folder.path()).expect("a writable folder");
        assert_eq!(again, first);

        nats.url = "nats://127.0.0.1:4333".to_owned();
        let other = Login::of_server(&nats, folder.path()).expect("it can be read");
        assert_eq!(other, None, "the password goes to no other server");
    }

    #[test]
    fn a_login_of_the_settings_is_used_as_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut nats = Config::default().nats;
        nats.user = Some("me".to_owned());
        nats.password = Some(Secret::new("a \"b\" \\ $x".to_owned()));
        let login = Login::find_or_create(&nats, folder.path()).expect("valid");
        assert_eq!(login.user, "me");
        assert!(!folder.path().join(FILE).exists());
        let settings = login.to_server_settings().expect("valid");
        assert!(
            settings.contains(r#"password: "a \"b\" \\ $x""#),
            "{settings}"
        );

        for wrong in ["line\nbreak", "$2a$11$hash"] {
            nats.password = Some(Secret::new(wrong.to_owned()));
            let login = Login::find_or_create(&nats, folder.path()).expect("a login");
            let refused = login.to_server_settings().expect_err(wrong);
            let text = format!("{refused:#}");
            assert!(
                text.starts_with("nats.password: ") && !text.contains(wrong),
                "{text}"
            );
        }
        nats.credentials_file = Some("x.creds".into());
        Login::find_or_create(&nats, folder.path()).expect_err("there is one way to log in");
    }
}
