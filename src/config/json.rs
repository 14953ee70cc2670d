use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::problem::Spot;
use super::reader::{Reader, Wanted, wrong_type};
use super::section::Section;

/// The table under `key` as JSON, with the variables in its strings replaced; empty when it is absent. A time becomes a text.
pub(super) fn object(section: &Section<'_>, key: &'static str) -> Option<Map<String, Value>> {
    match section.get(key) {
        None => Some(Map::new()),
        Some((spot, DeValue::Table(fields))) => table(section.reader, &spot, fields),
        Some((spot, other)) => {
            section.reader.report(&spot, wrong_type(other, Wanted::Table));
            None
        }
    }
}

fn table(reader: &Reader<'_>, spot: &Spot, fields: &DeTable<'_>) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for (name, field) in fields {
        let spot = Spot { key: format!("{}.{}", spot.key, name.get_ref()), at: Some(field.span().start) };
        object.insert(name.get_ref().to_string(), value(reader, spot, field.get_ref())?);
    }
    Some(object)
}

fn value(reader: &Reader<'_>, spot: Spot, given: &DeValue<'_>) -> Option<Value> {
    Some(match given {
        DeValue::String(_) => Value::String(reader.text(spot, given)?.value),
        DeValue::Integer(raw) => i64::from_str_radix(raw.as_str(), raw.radix()).ok()?.into(),
        DeValue::Float(raw) => raw.as_str().parse::<f64>().ok()?.into(),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => {
            let item = |(index, item): (usize, &toml::Spanned<DeValue<'_>>)| {
                let spot = Spot { key: format!("{}[{index}]", spot.key), at: Some(item.span().start) };
                value(reader, spot, item.get_ref())
            };
            Value::Array(items.iter().enumerate().map(item).collect::<Option<_>>()?)
        }
        DeValue::Table(fields) => Value::Object(table(reader, &spot, fields)?),
    })
}
