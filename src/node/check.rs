//! What a start would refuse although the settings are well formed: files that are missing or hold
//! something else, and a log filter that cannot be parsed.

use std::{io::ErrorKind, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{cli::Role, keys, whatsapp};
use crate::{
    config::{Error, Errors, Loaded, Origin, StoreKind},
    telemetry,
};

/// Checks what a node with these roles would read, or without roles what any node would.
///
/// # Errors
/// All errors at once.
pub fn check(loaded: &Loaded, roles: Option<&[Role]>) -> Result<(), Errors> {
    let mut check = Check {
        loaded,
        errors: Vec::new(),
    };
    check.log_filter();
    let all = whatsapp::roles();
    check.files(roles.unwrap_or(&all));
    if check.errors.is_empty() {
        Ok(())
    } else {
        Err(Errors(check.errors))
    }
}

struct Check<'a> {
    loaded: &'a Loaded,
    errors: Vec<Error>,
}

/// Why a file cannot be used, and what to do.
type Fault = (String, &'static str);

impl Check<'_> {
    fn log_filter(&mut self) {
        if telemetry::check_filter(&self.loaded.config.log).is_err() {
            let reason = "it cannot be parsed".to_owned();
            let remedy = "write it like \"info,wahook::deliver=debug\"";
            self.fault("log.filter", (reason, remedy));
        }
    }

    fn files(&mut self, roles: &[Role]) {
        let config = &self.loaded.config;
        let plays = |some: &[Role]| some.iter().any(|role| roles.contains(role));
        let uses_cql_tls = config.store.kind == StoreKind::Cql && config.cql.tls;
        self.file("nats.credentials_file", &config.nats.credentials_file, text);
        self.file("nats.root_ca_file", &config.nats.root_ca_file, certificates);
        self.file("secrets.keys_file", &config.secrets.keys_file, keys);
        if plays(&[Role::Deliver, Role::Ingest]) {
            let file = &config.egress.root_ca_file;
            self.file("egress.root_ca_file", file, certificates);
        }
        if plays(&[Role::Api, Role::Ingest]) {
            let file = &config.whatsapp.root_ca_file;
            self.file("whatsapp.root_ca_file", file, certificates);
        }
        if plays(&[Role::Api, Role::Record]) && uses_cql_tls {
            self.file("cql.root_ca_file", &config.cql.root_ca_file, certificates);
        }
    }

    fn file(
        &mut self,
        key: &str,
        file: &Option<impl AsRef<Path>>,
        read: impl Fn(&Path) -> Result<(), Fault>,
    ) {
        let Some(file) = file else { return };
        if let Err(fault) = read(file.as_ref()) {
            self.fault(key, fault);
        }
    }

    fn fault(&mut self, key: &str, (reason, remedy): Fault) {
        let origin = self.loaded.origins.get(key);
        self.errors.push(Error::Unusable {
            key: key.to_owned(),
            origin: origin.cloned().unwrap_or(Origin::Default),
            reason,
            remedy: remedy.to_owned(),
        });
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(file).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "create it, or name the right one",
            ErrorKind::PermissionDenied => "let the user of this process read it",
            _ => "name a file that can be read",
        };
        (format!("{}: {error}", file.display()), remedy)
    })
}

fn text(file: &Path) -> Result<(), Fault> {
    let bytes = read(file)?;
    let has_text = std::str::from_utf8(&bytes).is_ok_and(|text| !text.trim().is_empty());
    has_text.then_some(()).ok_or_else(|| {
        let reason = format!("{} is empty or no text", file.display());
        (reason, "name the file that nsc wrote")
    })
}

fn certificates(file: &Path) -> Result<(), Fault> {
    let bytes = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.is_ok_and(|all| !all.is_empty())
        .then_some(())
        .ok_or_else(|| {
            let reason = format!("{} holds no certificate", file.display());
            (reason, "name a PEM file of certificates")
        })
}

fn keys(file: &Path) -> Result<(), Fault> {
    read(file)?;
    let remedy = "see docs/secrets.md";
    keys::read(file)
        .map(drop)
        .map_err(|error| (format!("{error:#}"), remedy))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        config::{Sources, load},
        wire::Keyring,
    };

    fn faults(flags: &[(&str, &str)], roles: Option<&[Role]>) -> Vec<String> {
        let flags = flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let loaded = load(&Sources {
            flags,
            ..Sources::default()
        });
        let loaded = loaded.expect("well formed");
        let found = check(&loaded, roles).err();
        found.map_or_else(Vec::new, |errors| {
            errors.0.iter().map(ToString::to_string).collect()
        })
    }

    #[test]
    fn defaults_are_right_and_each_wrong_file_is_named_with_its_source_and_a_remedy() {
        assert_eq!(faults(&[], None), [""; 0]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wrong = folder.path().join("wrong");
        std::fs::write(&wrong, "-----BEGIN NOTHING-----\n").expect("a writable folder");
        let wrong = wrong.display().to_string();
        for (key, is_text) in [
            ("nats.credentials_file", true),
            ("nats.root_ca_file", false),
            ("egress.root_ca_file", false),
            ("whatsapp.root_ca_file", false),
            ("secrets.keys_file", false),
        ] {
            for (value, is_wrong) in [("/nowhere", true), ("/", true), (&wrong, !is_text)] {
                let found = faults(&[(key, value)], None);
                assert_eq!(
                    found.len(),
                    usize::from(is_wrong),
                    "{key} {value}: {found:?}"
                );
                for text in found {
                    let start = format!("{key} (flag {key}): ");
                    assert!(text.starts_with(&start) && text.contains("; "), "{text}");
                    assert!(text.contains(value), "{text}");
                }
            }
        }
    }

    #[test]
    fn filters_that_cannot_be_parsed_are_wrong() {
        for filter in ["wahook=nope", "a=b=c", "=", "trace,,="] {
            let found = faults(&[("log.filter", filter)], None);
            assert_eq!(found.len(), 1, "{filter}: {found:?}");
            assert!(
                found[0].starts_with("log.filter (flag log.filter): "),
                "{found:?}"
            );
        }
        assert_eq!(
            faults(&[("log.filter", "info,wahook::bus=debug")], None),
            [""; 0]
        );
    }

    #[test]
    fn only_files_of_the_roles_and_the_store_in_use_are_read() {
        let missing = [
            ("egress.root_ca_file", "/nowhere"),
            ("whatsapp.root_ca_file", "/nowhere"),
            ("cql.root_ca_file", "/nowhere"),
        ];
        assert_eq!(faults(&missing, Some(&[Role::Record])), [""; 0]);
        assert_eq!(faults(&missing, Some(&[Role::Deliver])).len(), 1);
        assert_eq!(faults(&missing, Some(&[Role::Api])).len(), 1);
        assert_eq!(faults(&missing, Some(&[Role::Ingest])).len(), 2);
        assert_eq!(faults(&missing, None).len(), 2, "SQLite needs no authority");
    }

    #[test]
    fn a_keys_file_that_others_can_read_is_wrong() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("keys");
        std::fs::write(&file, Keyring::new_line("k").expect("an id")).expect("a file");
        let name = file.display().to_string();
        for (mode, is_right) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o604, false),
            (0o620, false),
        ] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, permissions).expect("its own file");
            let found = faults(&[("secrets.keys_file", &name)], None);
            assert_eq!(found.is_empty(), is_right, "{mode:o}: {found:?}");
            if let Some(text) = found.first() {
                assert!(text.contains("chmod 600"), "{text}");
            }
        }
    }
}
