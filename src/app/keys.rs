//! Keys of services: what the configuration has, and what the database refuses.

use serde::Serialize;

use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::{AppError, Loaded};
use chainflume_api::access::{KeyHash, Revocation};
use chainflume_db::Schema;
use chainflume_gateway::grants::Grants;

/// A service key, as the configuration and the database know it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyListing {
    /// Name of the service; `None` for a key that was revoked and is not configured any more.
    pub name: Option<String>,
    /// `sha256:…`
    pub hash: String,
    /// What the service may do.
    pub scopes: Vec<&'static str>,
    /// When it was revoked, in seconds since 1970.
    pub revoked_at: Option<u64>,
}

/// The keys of the configuration, and those that were revoked.
///
/// # Errors
/// When the database cannot be read.
pub async fn keys(loaded: &Loaded) -> Result<Vec<KeyListing>, AppError> {
    let revoked = revoked(loaded).await?;
    let at = |hash: &str| revoked.iter().find(|(known, _)| known == hash).map(|(_, at)| *at);
    let configured = loaded.config.server.keys.iter().map(|key| {
        let hash = key.hash.to_string();
        let revoked_at = at(&hash);
        KeyListing { name: Some(key.name.clone()), hash, scopes: key.scopes.words(), revoked_at }
    });
    let mut all: Vec<KeyListing> = configured.collect();
    for (hash, at) in &revoked {
        if !all.iter().any(|listed| listed.hash == *hash) {
            let (hash, revoked_at) = (hash.clone(), Some(*at));
            all.push(KeyListing { name: None, hash, scopes: Vec::new(), revoked_at });
        }
    }
    Ok(all)
}

/// Hashes of revoked keys, and when; none where there is no database yet.
async fn revoked(loaded: &Loaded) -> Result<Vec<(String, u64)>, AppError> {
    let Some(database) = OpenDatabase::open_daemons_made(loaded).await? else { return Ok(Vec::new()) };
    let read = async {
        if database.store.schema().await? != Schema::Current {
            return Ok(Vec::new());
        }
        Grants::of(&database.store).revocations(0).await
    };
    let read = read.await.map_err(store_error);
    database.close().await;
    let key = |stored: chainflume_gateway::grants::StoredRevocation| match stored.what {
        Revocation::Key(hash) => Some((hash, stored.at)),
        _ => None,
    };
    Ok(read?.into_iter().filter_map(key).collect())
}

/// Revokes keys in the database, for every server: those of the service of this name, or the one with this hash. Returns their hashes.
///
/// # Errors
/// When there is no such key, or the database cannot be written.
pub async fn revoke_key(loaded: &Loaded, named: &str) -> Result<Vec<String>, AppError> {
    let of_name = loaded.config.server.keys.iter().filter(|key| key.name == named);
    let mut hashes: Vec<String> = of_name.map(|key| key.hash.to_string()).collect();
    hashes.extend(KeyHash::parse(named).ok().map(|hash| hash.to_string()));
    if hashes.is_empty() {
        let text = format!(
            "no [[server.key]] is called {named:?}; `chainflume keys list` names all; a hash works too"
        );
        return Err(AppError::Failed(text));
    }
    let database = OpenDatabase::open_daemons(loaded).await?;
    let grants = Grants::of(&database.store);
    let revoke = async {
        database.store.migrate().await?;
        for hash in &hashes {
            grants.revoke(&Revocation::Key(hash.clone())).await?;
        }
        Ok(())
    };
    let revoked = revoke.await.map_err(store_error);
    database.close().await;
    revoked.map(|()| hashes)
}
