//! What caused what: the facts of the application that belong to one message, and the events of chains that caused them.

mod chain;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::Publisher;
use chainflume_core::domain::MessageState;
use chainflume_db::StoreError;
use chainflume_db::convert::unsigned;

/// Messages of one tree at most; the answer shows when there are more.
const MAX_NODES: usize = 1_000;
/// Steps from a message to what is related to it, and on from there: a loop of reactions ends long before.
const MAX_STEPS: usize = 32;

/// A message in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TraceNode {
    id: String,
    message_type: String,
    aggregate: (String, String),
    user_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    source: String,
    timestamp: String,
    /// Its number; `None` of a change of an activity, and of an event of a chain.
    seq: Option<u64>,
    /// Retracted where a reorg took its fact away.
    state: MessageState,
}

impl Publisher {
    /// The tree that a message belongs to, by causation, and by correlation where a cause is not known; `None` without such a
    /// message.
    ///
    /// # Errors
    /// A database error.
    pub(crate) async fn trace(&self, id: Uuid) -> Result<Option<Value>, StoreError> {
        let mut nodes: BTreeMap<String, TraceNode> = BTreeMap::new();
        let (mut ids, mut groups) = (BTreeSet::from([id.to_string()]), BTreeSet::new());
        for _ in 0..MAX_STEPS {
            let before = (nodes.len(), ids.len(), groups.len());
            let is_absent = |id: &Uuid| !nodes.contains_key(&id.to_string());
            let absent = ids.iter().filter_map(|id: &String| Uuid::try_parse(id).ok()).filter(is_absent);
            let causes = self.chain_events(&absent.collect()).await?;
            for node in self.related(&ids, &groups).await?.into_iter().chain(causes) {
                ids.insert(node.id.clone());
                ids.extend(node.causation_id.clone());
                groups.extend(node.correlation_id.clone());
                nodes.insert(node.id.clone(), node);
            }
            if nodes.len() >= MAX_NODES || before == (nodes.len(), ids.len(), groups.len()) {
                break;
            }
        }
        if !nodes.contains_key(&id.to_string()) {
            return Ok(None);
        }
        let is_cut = nodes.len() >= MAX_NODES;
        Ok(Some(
            json!({ "id": id.to_string(), "roots": roots(&nodes), "messages": nodes.len(), "isCut": is_cut }),
        ))
    }

    /// Facts with one of these ids, caused by one of them, or of one of these groups.
    async fn related(
        &self,
        ids: &BTreeSet<String>,
        groups: &BTreeSet<String>,
    ) -> Result<Vec<TraceNode>, StoreError> {
        let uuids: Vec<Uuid> = ids.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect();
        let group_uuids: Vec<Uuid> = groups.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect();
        let rows = sqlx::query(
            r#"
            (select id, type, aggregate_type, aggregate_id, user_id, correlation_id, causation_id, source,
                to_char(happened_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as timestamp, seq,
                withdrawn_at is not null as is_withdrawn
            from domain_events
            where id = any($1::uuid[]) or causation_id = any($2::text[]) or correlation_id = any($3::text[])
            order by seq limit $5)
            union all
            (select c.message_id, 'activity.' || c.kind, 'activity', a.id::text, a.user_id, a.id::text, null, c.made_by,
                to_char(c.made_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), null, false
            from activity_changes c join activities a on a.id = c.activity_id
            where c.message_id = any($1::uuid[]) or c.activity_id = any($4::uuid[])
            order by c.activity_id, c.number limit $5)
            "#,
        )
        .bind(uuids)
        .bind(ids.iter().collect::<Vec<_>>())
        .bind(groups.iter().collect::<Vec<_>>())
        .bind(group_uuids)
        .bind(i64::try_from(MAX_NODES).unwrap_or(i64::MAX))
        .fetch_all(&self.0.pool)
        .await?;
        rows.iter().map(node).collect()
    }
}

fn node(row: &PgRow) -> Result<TraceNode, StoreError> {
    let seq: Option<i64> = row.try_get("seq")?;
    let is_withdrawn: bool = row.try_get("is_withdrawn")?;
    Ok(TraceNode {
        id: row.try_get::<Uuid, _>("id")?.to_string(),
        message_type: row.try_get("type")?,
        aggregate: (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?),
        user_id: row.try_get("user_id")?,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: row.try_get("causation_id")?,
        source: row.try_get("source")?,
        timestamp: row.try_get("timestamp")?,
        seq: seq.map(|seq| unsigned("sequence", seq)).transpose()?,
        state: if is_withdrawn { MessageState::Retracted } else { MessageState::Confirmed },
    })
}

/// Those without a known cause, each with what it caused. A message that is among its own causes is a root once.
fn roots(nodes: &BTreeMap<String, TraceNode>) -> Vec<Value> {
    let mut children: BTreeMap<&str, Vec<&TraceNode>> = BTreeMap::new();
    let mut ordered: Vec<&TraceNode> = nodes.values().collect();
    ordered.sort_by(|a, b| (a.seq, &a.timestamp, &a.id).cmp(&(b.seq, &b.timestamp, &b.id)));
    let is_known = |cause: &&String| nodes.contains_key(cause.as_str());
    for node in &ordered {
        if let Some(cause) = node.causation_id.as_ref().filter(is_known) {
            children.entry(cause).or_default().push(node);
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for node in ordered.iter().filter(|node| node.causation_id.as_ref().filter(is_known).is_none()) {
        found.push(tree(node, &children, &mut seen));
    }
    // What is left is in a circle.
    for node in &ordered {
        if !seen.contains(&node.id) {
            found.push(tree(node, &children, &mut seen));
        }
    }
    found
}

fn tree(node: &TraceNode, children: &BTreeMap<&str, Vec<&TraceNode>>, seen: &mut BTreeSet<String>) -> Value {
    seen.insert(node.id.clone());
    let mut caused = Vec::new();
    for child in children.get(node.id.as_str()).into_iter().flatten() {
        if !seen.contains(&child.id) {
            caused.push(tree(child, children, seen));
        }
    }
    json!({
        "id": node.id, "type": node.message_type, "state": node.state.as_str(), "aggregateType": node.aggregate.0, "aggregateId": node.aggregate.1,
        "userId": node.user_id, "correlationId": node.correlation_id, "causationId": node.causation_id,
        "source": node.source, "timestamp": node.timestamp, "seq": node.seq, "caused": caused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, TraceNode> {
        let node = |(index, (id, cause)): (usize, &(&str, Option<&str>))| {
            let node = TraceNode {
                id: (*id).to_owned(),
                message_type: "a.b".to_owned(),
                aggregate: ("order".to_owned(), "1".to_owned()),
                user_id: None,
                correlation_id: None,
                causation_id: cause.map(str::to_owned),
                source: String::new(),
                timestamp: String::new(),
                seq: Some(index as u64),
                state: MessageState::Confirmed,
            };
            ((*id).to_owned(), node)
        };
        pairs.iter().enumerate().map(node).collect()
    }

    fn shape(value: &Value) -> String {
        let caused = value["caused"].as_array().expect("children").iter().map(shape).collect::<Vec<_>>();
        format!("{}({})", value["id"].as_str().expect("an id"), caused.join(" "))
    }

    #[test]
    fn a_tree_has_each_message_once_in_order() {
        let found = roots(&nodes(&[
            ("a", None),
            ("c", Some("a")),
            ("b", Some("a")),
            ("d", Some("b")),
            ("e", Some("gone")),
        ]));
        assert_eq!(found.iter().map(shape).collect::<Vec<_>>(), ["a(c() b(d()))", "e()"]);
        let circle = roots(&nodes(&[("a", Some("b")), ("b", Some("a"))]));
        assert_eq!(circle.iter().map(shape).collect::<Vec<_>>(), ["a(b())"]);
    }
}
