//! Titles and descriptions that follow from the status of an activity.

use serde_json::{Value, json};

use super::change::{ActivityChange, ActivityStatus, ActivityTransaction, NewActivity};
use chainflume_core::domain::{Template, TemplateError};

/// A template with places of an activity: `Sent {data.amount} {data.token}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityTemplate(Template<Vec<String>>);

impl ActivityTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`]
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Template::parse(text, known).map(Self)
    }

    /// The text for an activity, cut to `most` characters; `None` if a place has no value that can be written into a text.
    fn text(&self, fields: &Value, most: usize) -> Option<String> {
        let value =
            |names: &Vec<String>| names.iter().try_fold(fields, |value, name| value.get(name)).cloned();
        let text = self.0.text(value)?;
        Some(text.chars().take(most).collect()).filter(|text: &String| !text.is_empty())
    }
}

/// The names of a field that an activity has.
fn known(names: Vec<String>) -> Result<Vec<String>, &'static str> {
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["userId" | "type"] | ["transaction", "chainId" | "hash"] | ["data", _, ..] => Ok(names),
        _ => Err("an activity has {data.…}, {userId}, {type}, {transaction.chainId} and {transaction.hash}"),
    }
}

/// An `[[activity.text]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityText {
    /// Type of the activities.
    pub activity_type: String,
    /// The status that they get.
    pub status: ActivityStatus,
    /// Their title then; `None` leaves it.
    pub title: Option<ActivityTemplate>,
    /// Their description then; `None` leaves it.
    pub description: Option<ActivityTemplate>,
}

/// Maximum number of characters of a title: it is shown on one line of a screen.
pub(crate) const MAX_TITLE: usize = 200;
/// Maximum number of characters of a description.
pub(crate) const MAX_DESCRIPTION: usize = 2_000;

/// Title and description for a status, from the templates, unless the caller gives them. A template with a place that the activity does
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
        let text = |template: &str| ActivityTemplate::parse(template).expect(template).text(&fields, 20);
        assert_eq!(text("Sent {data.amount} to {userId}").as_deref(), Some("Sent 5 to 7"));
        assert_eq!(text("{data.n} {data.deep.ok}").as_deref(), Some("3 true"));
        assert_eq!(text("a text that is far too long").as_deref(), Some("a text that is far t"));
        // What the activity does not have, and what is no text.
        for missing in ["{data.token}", "{transaction.hash}", "{data.deep}"] {
            assert_eq!(text(missing), None, "{missing}");
        }
        for wrong in ["{data.amount", "amount}", "{data}", "{status}", "{data.}", "{}", "{transaction.block}"]
        {
            assert!(ActivityTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
