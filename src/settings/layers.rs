//! Layers of values put over each other; each value keeps the place it comes from.
//!
//! The merging and the typing are the `config` crate's. A build without it (no feature `config`) reads no files: what is
//! left is defaults, environment and flags, and the last one of a key wins.

use super::{Said, Settings, keys};

/// The values of one place, already checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer(pub(super) Vec<Said>);

/// Lays them over each other, later ones above. The error is a mistake in this program: what a person wrote was checked
/// before.
pub(super) fn merge(layers: Vec<Layer>) -> Result<(Settings, Vec<Said>), String> {
    let (settings, mut said) = merged(layers)?;
    said.sort_by_key(|said| keys::names().position(|name| name == said.key));
    Ok((settings, said))
}

#[cfg(feature = "config")]
impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, config::Value>, config::ConfigError> {
        let value = |said: &Said| config::Value::new(Some(&said.origin), said.value.clone());
        Ok(self.0.iter().map(|said| (said.key.clone(), value(said))).collect())
    }
}

#[cfg(feature = "config")]
fn merged(layers: Vec<Layer>) -> Result<(Settings, Vec<Said>), String> {
    use config::{Config, Source};

    let all = layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer));
    let all = all.build().map_err(|error| error.to_string())?;
    let values = all.collect().map_err(|error| error.to_string())?;
    let said = values.into_iter().map(|(key, value)| {
        let origin = value.origin().unwrap_or_default().to_owned();
        Said { key, value: value.to_string(), origin }
    });
    let said = said.collect();
    Ok((all.try_deserialize().map_err(|error| error.to_string())?, said))
}

#[cfg(not(feature = "config"))]
fn merged(layers: Vec<Layer>) -> Result<(Settings, Vec<Said>), String> {
    use serde::Deserialize;
    use serde::de::value::{Error, MapDeserializer};

    let mut said: std::collections::BTreeMap<String, Said> = std::collections::BTreeMap::new();
    for layer in layers {
        said.extend(layer.0.into_iter().map(|said| (said.key.clone(), said)));
    }
    let values = said.values().map(|said| (said.key.as_str(), said.value.as_str()));
    let settings = Settings::deserialize(MapDeserializer::<_, Error>::new(values));
    Ok((settings.map_err(|error| error.to_string())?, said.into_values().collect()))
}
