//! Reads the typed views in the database.

use super::label::{MARK, ViewLabel, label};
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

/// A typed view in the database, with what its comment records.
pub(super) struct StoredView {
    pub name: String,
    pub label: ViewLabel,
    /// Names of its columns, in its order.
    pub columns: Vec<String>,
    /// Their types, as SQL names them.
    pub types: Vec<String>,
}

/// Every typed view, by name.
pub(super) async fn held(tx: &mut Tx) -> Result<Vec<StoredView>, StoreError> {
    read_held(tx, None).await
}

/// The typed views that have one of these names or show this source and event. Reading all views for each one would take too
/// long with thousands of sources.
pub(super) async fn held_like(
    tx: &mut Tx,
    wanted: &ViewLabel,
    names: [&str; 2],
) -> Result<Vec<StoredView>, StoreError> {
    let json = |key: &str, text: &str| {
        let text = serde_json::to_string(text).map_err(|cause| StoreError::invalid(cause.to_string()))?;
        Ok::<_, StoreError>(format!("\"{key}\":{text}"))
    };
    let (source, event) = (json("source", &wanted.source)?, json("signature", &wanted.signature)?);
    read_held(tx, Some((&names, &source, &event))).await
}

/// Names of views, or source and event of their label.
type Likeness<'a> = (&'a [&'a str], &'a str, &'a str);

async fn read_held(tx: &mut Tx, like: Option<Likeness<'_>>) -> Result<Vec<StoredView>, StoreError> {
    let (names, source, event) = like.unwrap_or((&[], "", ""));
    let rows: Vec<(String, String, Vec<String>, Vec<String>)> = sqlx::query_as(
        r"
        select c.relname::text, d.description, array_agg(a.attname::text order by a.attnum),
            array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum)
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema()
        join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind = 'v' and starts_with(d.description, $1)
            and (c.relname = any($2) or strpos(d.description, $3) > 0 and strpos(d.description, $4) > 0)
        group by c.relname, d.description order by c.relname
        ",
    )
    .bind(MARK)
    .bind(names)
    .bind(source)
    .bind(event)
    .fetch_all(&mut **tx)
    .await?;
    let read = |(name, comment, columns, types): (String, String, Vec<String>, Vec<String>)| {
        Some(StoredView { name, label: label(&comment)?, columns, types })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}
