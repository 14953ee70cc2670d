//! The table `followed`: blocks in which a source followed an event of some contracts.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use chainflume_core::domain::{AddressSet, EventKey, FollowedRange};
use chainflume_db::StoreError;
use chainflume_db::convert::{address, hash, int8, unsigned};
use chainflume_db::transaction::Tx;

/// The record of sources that differs from what is stored, by name.
pub(super) type ChangedParts<'a> = BTreeMap<&'a str, Vec<FollowedRange>>;

/// Replaces the record of these sources, with two statements for any number of them.
pub(super) async fn write(tx: &mut Tx, changed: &ChangedParts<'_>) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from followed where source = any($1)")
        .bind(changed.keys().collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    let parts = || changed.iter().flat_map(|(source, parts)| parts.iter().map(move |part| (*source, part)));
    let block = |number| int8("block number", number);
    sqlx::query(
        r"
        insert into followed (source, signature, declaration, topic0, topics, addresses, from_block, to_block, quiet, filter)
        select source, signature, declaration, topic0, topics, addresses::bytea[], from_block, to_block, quiet, filter
        from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::bigint[], $8::bigint[],
            $9::boolean[], $10::text[])
            as part (source, signature, declaration, topic0, topics, addresses, from_block, to_block, quiet, filter)
        ",
    )
    .bind(parts().map(|(source, _)| source).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| part.event.signature.as_str()).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| part.event.declaration.as_str()).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| part.event.topic0.as_ref().map(|topic| topic.as_slice())).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| i16::from(part.event.topics)).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| addresses(&part.addresses)).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| block(part.from)).collect::<Result<Vec<_>, _>>()?)
    .bind(parts().map(|(_, part)| part.to.map(block).transpose()).collect::<Result<Vec<_>, _>>()?)
    .bind(parts().map(|(_, part)| part.quiet).collect::<Vec<_>>())
    .bind(parts().map(|(_, part)| part.event.filter.to_string()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct FollowedRow {
    source: String,
    signature: String,
    declaration: String,
    topic0: Option<Vec<u8>>,
    topics: i16,
    addresses: Option<Vec<Vec<u8>>>,
    from_block: i64,
    to_block: Option<i64>,
    quiet: bool,
    filter: String,
}

/// The rows of `followed` by source, in order; of one source or of all.
pub(super) async fn rows(
    connection: &mut PgConnection,
    source: Option<&str>,
) -> Result<BTreeMap<String, Vec<FollowedRange>>, StoreError> {
    let rows: Vec<FollowedRow> = sqlx::query_as(
        r"
        select source, signature, declaration, topic0, topics, addresses, from_block, to_block, quiet, filter
        from followed where $1::text is null or source = $1
        ",
    )
    .bind(source)
    .fetch_all(connection)
    .await?;
    let mut parts = BTreeMap::<String, Vec<FollowedRange>>::new();
    for row in rows {
        parts.entry(row.source.clone()).or_default().push(row.read()?);
    }
    parts.values_mut().for_each(|parts| parts.sort());
    Ok(parts)
}

impl FollowedRow {
    fn read(self) -> Result<FollowedRange, StoreError> {
        let addresses = match self.addresses {
            None => AddressSet::Any,
            Some(set) => AddressSet::Only(set.iter().map(|bytes| address(bytes)).collect::<Result<_, _>>()?),
        };
        let topics = u8::try_from(self.topics).map_err(|_| StoreError::OutOfRange {
            what: "number of topics",
            value: self.topics.to_string(),
        })?;
        Ok(FollowedRange {
            event: EventKey {
                topic0: self.topic0.as_deref().map(hash).transpose()?,
                topics,
                signature: self.signature,
                declaration: self.declaration,
                filter: self
                    .filter
                    .parse()
                    .map_err(|what| StoreError::Corrupt { table: "followed", what })?,
            },
            addresses,
            from: unsigned("block number", self.from_block)?,
            to: self.to_block.map(|to| unsigned("block number", to)).transpose()?,
            quiet: self.quiet,
        })
    }
}

/// As PostgreSQL reads an array of `bytea` (manual, "Arrays", "Array Input and Output Syntax"): there is no array of arrays of
/// different lengths. `None` for any address.
fn addresses(set: &AddressSet) -> Option<String> {
    let AddressSet::Only(set) = set else { return None };
    let quoted: Vec<String> = set.iter().map(|address| format!(r#""\\x{address:x}""#)).collect();
    Some(format!("{{{}}}", quoted.join(",")))
}
