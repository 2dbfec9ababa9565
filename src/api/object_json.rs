//! A JSON object whose text matters.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

/// The JSON of an object, as the caller wrote it.
pub(super) struct ObjectJson(Box<RawValue>);

impl ObjectJson {
    pub(super) fn get(&self) -> &str {
        self.0.get()
    }
}

impl<'de> Deserialize<'de> for ObjectJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if !json.get().starts_with('{') {
            return Err(D::Error::custom("invalid type, expected an object"));
        }
        Ok(Self(json))
    }
}
