//! Variables that look like settings and are none.

use super::{
    Error, Origin,
    defaults::{self, keys, variable},
};

const PREFIX: &str = "WAHOOK_";
/// What the prefix of a setting has more.
const SETTING_PREFIX: &str = "WAHOOK__";
/// Used when wahook is built, and by its tests.
const OTHER_VARIABLES: [&str; 2] = ["WAHOOK_COMMIT", "WAHOOK_BREAK_TASKS"];
/// Parts of the names that Kubernetes gives to variables of a service called `wahook`.
const SERVICE_PARTS: [&str; 2] = ["_SERVICE_", "_PORT"];

/// Variables that differ from a setting's only by underscores, like `WAHOOK_DELIVER_TIMEOUT`.
/// Ignoring them would leave the default in force.
pub(super) fn misspelt(env: &[(String, String)]) -> Vec<Error> {
    let error = |(name, _): &(String, String)| {
        let meant = near_setting(name).filter(|meant| meant != name)?;
        Some(Error::Unknown {
            key: name.escape_debug().to_string(),
            origin: Origin::Env(name.clone()),
            remedy: format!("did you mean {meant}?"),
        })
    };
    env.iter()
        .filter(|(name, _)| is_other(name))
        .filter_map(error)
        .collect()
}

/// One line for each variable that begins like a setting and is ignored.
pub(super) fn ignored(env: &[(String, String)]) -> Vec<String> {
    env.iter()
        .map(|(name, _)| name)
        .filter(|name| is_other(name) && near_setting(name).is_none())
        .filter(|name| !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| !SERVICE_PARTS.iter().any(|part| name.contains(part)))
        .map(|name| {
            format!(
                "variable {} is ignored: settings are named WAHOOK__SECTION__KEY",
                name.escape_debug()
            )
        })
        .collect()
}

/// Whether a name has the prefix, but not that of a setting.
fn is_other(name: &str) -> bool {
    let name = name.to_uppercase();
    name.starts_with(PREFIX) && !name.starts_with(SETTING_PREFIX)
}

/// The variable of the setting with the same letters.
fn near_setting(name: &str) -> Option<String> {
    let letters = |name: &str| name.replace('_', "").to_uppercase();
    let wanted = letters(name);
    keys()
        .iter()
        .map(|key: &defaults::Key| variable(&key.dotted()))
        .find(|known| letters(known) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(names: &[&str]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), "canary".to_owned()))
            .collect()
    }

    #[test]
    fn a_setting_with_other_underscores_is_an_error_that_names_the_right_variable() {
        for (name, meant) in [
            ("WAHOOK_DELIVER_TIMEOUT", "WAHOOK__DELIVER__TIMEOUT"),
            ("WAHOOK_DELIVER__TIMEOUT", "WAHOOK__DELIVER__TIMEOUT"),
            ("WAHOOK_NATS_URL", "WAHOOK__NATS__URL"),
            ("wahook_nats_url", "WAHOOK__NATS__URL"),
            ("WAHOOK_EGRESS_ALLOW_HTTP", "WAHOOK__EGRESS__ALLOW_HTTP"),
        ] {
            let found = misspelt(&env(&[name]));
            let text = found.first().expect("an error").to_string();
            assert!(text.contains(&format!("did you mean {meant}?")), "{text}");
            assert!(!text.contains("canary"), "{text}");
            assert_eq!(ignored(&env(&[name])), [""; 0]);
        }
    }

    #[test]
    fn other_variables_are_told_but_those_of_kubernetes_and_of_other_programs() {
        let quiet = [
            "WAHOOK_COMMIT",
            "WAHOOK_SERVICE_HOST",
            "WAHOOK_PORT",
            "WAHOOK_PORT_8080_TCP_ADDR",
            "WAHOOK_API_SERVICE_PORT_HTTP",
            "WAHOOK__DELIVER__TIMEOUT",
            "WAHOOKS",
            "PATH",
        ];
        assert_eq!(ignored(&env(&quiet)), [""; 0]);
        assert_eq!(misspelt(&env(&quiet)), []);
        let told = ignored(&env(&["WAHOOK_DEBUG"]));
        assert!(
            told[0].starts_with("variable WAHOOK_DEBUG is ignored"),
            "{told:?}"
        );
    }
}
