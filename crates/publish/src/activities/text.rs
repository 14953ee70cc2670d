//! Titles and descriptions that follow from the status of an activity.

use serde_json::{Value, json};

use super::change::{ActivityChange, ActivityStatus, ActivityTransaction, NewActivity};

/// Text with places to fill in, like those of `[[push]]`: `Sent {data.amount} {data.token}`. Places alone: a title is one line, and a
/// language with loops and conditions would be one more to learn and to bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate(Vec<TextPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TextPart {
    Text(String),
    /// Names of fields from the outside in.
    Place(Vec<String>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextTemplateError {
    /// A brace without its other.
    #[error("has a `{{` or `}}` without its other; a place is written {{data.amount}}")]
    Brace,
    /// No field of an activity.
    #[error(
        "has `{{{0}}}`; an activity has {{data.…}}, {{userId}}, {{type}}, {{transaction.chainId}} and {{transaction.hash}}"
    )]
    Place(String),
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TextTemplateError`]
    pub fn parse(text: &str) -> Result<Self, TextTemplateError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (before, after) = match rest.split_once('{') {
                None => (rest, None),
                Some((before, after)) => {
                    (before, Some(after.split_once('}').ok_or(TextTemplateError::Brace)?))
                }
            };
            if before.contains('}') {
                return Err(TextTemplateError::Brace);
            }
            if !before.is_empty() {
                parts.push(TextPart::Text(before.to_owned()));
            }
            let Some((place, further)) = after else { break };
            parts.push(TextPart::Place(
                names(place).ok_or_else(|| TextTemplateError::Place(place.to_owned()))?,
            ));
            rest = further;
        }
        Ok(Self(parts))
    }

    /// The text for an activity, of `most` characters at most; `None` where a place has nothing that can be written into a text.
    fn text(&self, fields: &Value, most: usize) -> Option<String> {
        let part = |part: &TextPart| match part {
            TextPart::Text(text) => Some(text.clone()),
            TextPart::Place(names) => match names.iter().try_fold(fields, |value, name| value.get(name))? {
                Value::String(text) => Some(text.clone()),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                _ => None,
            },
        };
        let text: String = self.0.iter().map(part).collect::<Option<_>>()?;
        Some(text.chars().take(most).collect()).filter(|text: &String| !text.is_empty())
    }
}

fn names(place: &str) -> Option<Vec<String>> {
    let names: Vec<&str> = place.split('.').collect();
    let is_known = matches!(
        names.as_slice(),
        ["userId" | "type"] | ["transaction", "chainId" | "hash"] | ["data", _, ..]
    );
    let is_whole = names.iter().all(|name| !name.is_empty());
    (is_known && is_whole).then(|| names.into_iter().map(str::to_owned).collect())
}

/// An `[[activity.text]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityText {
    /// Type of the activities.
    pub activity_type: String,
    /// The status that they get.
    pub status: ActivityStatus,
    /// Their title then; `None` leaves it.
    pub title: Option<TextTemplate>,
    /// Their description then; `None` leaves it.
    pub description: Option<TextTemplate>,
}

/// Characters of a title at most: it stands on one line of a screen.
pub(crate) const MAX_TITLE: usize = 200;
/// Characters of a description at most.
pub(crate) const MAX_DESCRIPTION: usize = 2_000;

/// What an activity is called with its status: by its template, unless the caller says so. A template that names what the activity does
/// not have is left out.
pub(crate) fn texts(
    templates: &[ActivityText],
    now: &NewActivity,
    change: &ActivityChange,
) -> (Option<String>, Option<String>) {
    let fits = |template: &&ActivityText| {
        template.activity_type == now.activity_type && template.status == now.status
    };
    let Some(template) = templates.iter().find(fits) else { return (None, None) };
    let fields = json!({
        "userId": now.user_id, "type": now.activity_type, "data": now.data,
        "transaction": now.transaction.map(ActivityTransaction::to_json),
    });
    let title = template.title.as_ref().filter(|_| change.title.is_none());
    let description = template.description.as_ref().filter(|_| change.description.is_none());
    (
        title.and_then(|title| title.text(&fields, MAX_TITLE)),
        description.and_then(|description| description.text(&fields, MAX_DESCRIPTION)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_with_places_of_an_activity() {
        let fields = json!({ "userId": "7", "data": { "amount": "5", "n": 3, "deep": { "ok": true } }, "transaction": null });
        let text = |template: &str| TextTemplate::parse(template).expect(template).text(&fields, 20);
        assert_eq!(text("Sent {data.amount} to {userId}").as_deref(), Some("Sent 5 to 7"));
        assert_eq!(text("{data.n} {data.deep.ok}").as_deref(), Some("3 true"));
        assert_eq!(text("a text that is far too long").as_deref(), Some("a text that is far t"));
        // What the activity does not have, and what is no text.
        for missing in ["{data.token}", "{transaction.hash}", "{data.deep}"] {
            assert_eq!(text(missing), None, "{missing}");
        }
        for wrong in ["{data.amount", "amount}", "{data}", "{status}", "{data.}", "{}", "{transaction.block}"]
        {
            assert!(TextTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
