//! What the declared files say, and how a difference is told.

use super::*;

fn settings() -> config::Bus {
    config::load(&config::Sources::default())
        .expect("the defaults are right")
        .config
        .bus
}

#[test]
fn every_file_is_sound_and_the_settings_reach_it() {
    let settings = config::Bus {
        replicas: 3,
        ..settings()
    };
    let all = declared(&settings);
    assert_eq!(
        all.len(),
        STREAMS.len() + (CONSUMERS.len() - 1) * usize::from(settings.partitions) + 1
    );
    assert!(
        all.iter()
            .filter(|one| one.stream.is_none())
            .all(|one| one.config["num_replicas"] == 3)
    );
    assert!(all.iter().all(|one| !one.config.to_string().contains("{N")));
    let limited = |config: &Value| config["max_bytes"].as_u64().is_some_and(|max| max > 0);
    assert!(all.iter().filter_map(Declared::stream_config).all(limited));
}

#[test]
fn files_hold_what_the_default_settings_give() {
    let settings = settings();
    for text in STREAMS {
        let file: Value = serde_json::from_str(text).expect("sound");
        assert_eq!(
            file["max_bytes"],
            room::max_bytes(&file, &settings),
            "{}",
            file["name"]
        );
    }
}

#[test]
fn a_difference_names_field_and_both_values() {
    let one = declared(&settings()).remove(0);
    let mut found = one.config.clone();
    assert_eq!(differences(&one, &found), []);
    found["max_bytes"] = 5.into();
    let all = differences(&one, &found);
    assert_eq!(all.len(), 1);
    assert_eq!(
        all[0].to_string(),
        format!(
            "stream WA_MSG: max_bytes is 5, declared {}",
            one.config["max_bytes"]
        )
    );
}
