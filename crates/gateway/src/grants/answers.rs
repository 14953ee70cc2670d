use super::Grants;
use chainflume_api::access::sha256;
use chainflume_db::{StoreError, transaction};

/// A request with an `Idempotency-Key`, which is executed once.
pub struct Repeatable<'a> {
    /// Name of the caller.
    pub owner: &'a str,
    /// Method and path of the request.
    pub route: &'a str,
    /// The header `Idempotency-Key`.
    pub key: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Execute it and store the answer.
    New,
    /// It was executed before: status and JSON of the answer.
    Answered(u16, String),
    /// Another request with this key and body began and has no answer: it is running, or was cut off.
    Running,
    /// The key was used with another body.
    Differs,
}

impl Grants {
    /// Begins a request, unless one with its key was begun.
    ///
    /// # Errors
    /// A database error.
    pub async fn begin(&self, this: &Repeatable<'_>) -> Result<Begun, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let hash = sha256(this.body);
        // One that was begun a minute ago and not answered was cut off, by a server that was killed for instance. Its key is free for
        // another body then. The same body is the repeat of one that may have done its work, however late it comes.
        let sql = "insert into request_answers (owner, route, key, request, began_at) values ($1, $2, $3, $4, now()) \
             on conflict (owner, route, key) do update \
             set request = excluded.request, began_at = now(), status = null, answer = null \
             where (request_answers.answer is null and request_answers.request <> excluded.request \
             and request_answers.began_at < now() - interval '60 seconds') \
             or request_answers.began_at < now() - interval '24 hours'";
        let inserted = sqlx::query(sql)
            .bind(this.owner)
            .bind(this.route)
            .bind(this.key)
            .bind(&hash)
            .execute(&mut *tx)
            .await?;
        let sql = "select request, status, answer from request_answers where owner = $1 and route = $2 and key = $3";
        let row: (Vec<u8>, Option<i64>, Option<String>) =
            sqlx::query_as(sql).bind(this.owner).bind(this.route).bind(this.key).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(match row {
            _ if inserted.rows_affected() == 1 => Begun::New,
            (request, _, _) if request != hash => Begun::Differs,
            (_, Some(status), Some(answer)) => Begun::Answered(u16::try_from(status).unwrap_or(500), answer),
            _ => Begun::Running,
        })
    }

    /// Stores the answer to a request that was begun, unless another request with the same key was answered before.
    ///
    /// # Errors
    /// A database error.
    pub async fn answered(&self, this: &Repeatable<'_>, status: u16, answer: &str) -> Result<(), StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let sql = "update request_answers set status = $4, answer = $5 where owner = $1 and route = $2 and key = $3 and answer is null";
        let update = sqlx::query(sql).bind(this.owner).bind(this.route).bind(this.key);
        update.bind(i64::from(status)).bind(answer).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets a request that failed, so that it may be sent again.
    ///
    /// # Errors
    /// A database error.
    pub async fn abandon(&self, this: &Repeatable<'_>) -> Result<(), StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let sql =
            "delete from request_answers where owner = $1 and route = $2 and key = $3 and answer is null";
        let delete = sqlx::query(sql).bind(this.owner).bind(this.route).bind(this.key);
        delete.execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
