use crate::config::Config;
use crate::roles::error::AppError;
use chainflume_publish::{EventSchemas, Publisher, Settings};
use chainflume_store::Store;

/// Takes facts of the application.
///
/// # Errors
/// When a schema cannot be read.
pub(super) fn publisher(config: &Config, store: &Store) -> Result<Publisher, AppError> {
    let publish = &config.publish;
    let settings = Settings {
        schemas: schemas(config)?,
        activity_types: publish.activity_types.clone(),
        activity_texts: publish.activity_texts.clone(),
        chains: config.chains.iter().map(|chain| chain.chain_id).collect(),
        limits: publish.limits,
    };
    Ok(Publisher::new(store, settings))
}

/// The schemas of payloads.
///
/// # Errors
/// When one cannot be read.
pub(super) fn schemas(config: &Config) -> Result<EventSchemas, AppError> {
    let schemas = config.publish.events.schemas.as_deref().map(EventSchemas::load).transpose();
    let schemas = schemas.map_err(|error| AppError::Config(format!("publish.schemas: {error}")))?;
    Ok(schemas.unwrap_or_default())
}
