use uuid::Uuid;

use super::FactReplay;
use chainflume_core::domain::TypePattern;
use chainflume_db::StoreError;
use chainflume_db::transaction::{Tx, begin_snapshot};

/// Why a query of facts cannot be replayed: a name in it is of no fact, and it would find nothing without a word.
#[derive(Debug, thiserror::Error)]
pub enum FactQueryError {
    /// A type.
    #[error("no fact of the application is of type `{given}`; there are: {known}")]
    Type {
        /// The type in the query.
        given: String,
        /// The types that facts have.
        known: String,
    },
    /// A kind of subject, or a subject.
    #[error(
        "no fact of the application is about `{given}`; name one of these kinds, or a subject as order-9: {known}"
    )]
    Aggregate {
        /// The subject in the query.
        given: String,
        /// The kinds of subjects that facts have.
        known: String,
    },
    /// An id.
    #[error("no fact of the application has the id {0}; name ids of events or of messages about activities")]
    Id(Uuid),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for FactQueryError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

const TYPES: &str =
    "select type from domain_events union select 'activity.' || kind from activity_changes order by 1";
const KINDS: &str = "select aggregate_type from domain_events union \
     select 'activity' where exists (select from activities) order by 1";

impl FactReplay {
    /// Checks that each type, subject and id of the query is that of a stored fact.
    ///
    /// # Errors
    /// [`FactQueryError`]
    pub async fn check(&self) -> Result<(), FactQueryError> {
        let mut tx = begin_snapshot(&self.pool).await?;
        if !self.query.types.is_empty() {
            let known = names(&mut tx, TYPES).await?;
            let is_unknown = |given: &&TypePattern| !known.iter().any(|name| given.names(name));
            if let Some(given) = self.query.types.iter().find(is_unknown) {
                return Err(FactQueryError::Type { given: given.to_string(), known: listed(&known) });
            }
        }
        if let Some((kind, id)) = &self.query.aggregate {
            let found = "select exists (select from domain_events where aggregate_type = $1 and ($2::text is null or aggregate_id = $2)) \
                 or ($1 = 'activity' and exists (select from activities where $2::text is null or id::text = $2))";
            let is_known: bool = sqlx::query_scalar(found).bind(kind).bind(id).fetch_one(&mut *tx).await?;
            if !is_known {
                let given = id.as_ref().map_or_else(|| kind.clone(), |id| format!("{kind}-{id}"));
                return Err(FactQueryError::Aggregate {
                    given,
                    known: listed(&names(&mut tx, KINDS).await?),
                });
            }
        }
        let unknown = "select id from unnest($1::uuid[]) with ordinality as g (id, place) \
             where not exists (select from domain_events e where e.id = g.id) \
                and not exists (select from activity_changes c where c.message_id = g.id) order by place limit 1";
        let unknown: Option<Uuid> =
            sqlx::query_scalar(unknown).bind(&self.query.ids).fetch_optional(&mut *tx).await?;
        unknown.map_or(Ok(()), |id| Err(FactQueryError::Id(id)))
    }
}

async fn names(tx: &mut Tx, sql: &'static str) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(sql).fetch_all(&mut **tx).await?)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
