use serde_json::Value;

/// Parts of a template at most: a title and a payload are made of few.
const MAX_PARTS: usize = 32;
/// Names of one place at most.
const MAX_NAMES: usize = 8;
/// Characters of a place that an error repeats.
const SHOWN: usize = 60;

/// Text with places to fill in: `Sent {data.amount} to {userId}`. A place is names of fields with points between them. There are no
/// conditions and no loops: a template is one line, and a language would be one more to learn and to bound. `P` is what the
/// reader of a template makes of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<P>(Vec<TemplatePart<P>>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart<P> {
    /// As it is written.
    Text(String),
    /// To be filled in.
    Place(P),
}

/// Why a text is no template. Characters are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its other.
    #[error("has a `{{` or `}}` without its other at character {0}; a place is written {{name}}")]
    Brace(usize),
    /// A place that is none, or none of these templates.
    #[error("has `{{{place}}}` at character {at}; {remedy}")]
    Place {
        /// What is between the braces.
        place: String,
        /// Where its brace is.
        at: usize,
        /// What to write.
        remedy: &'static str,
    },
    /// Too many parts.
    #[error("has more than {MAX_PARTS} parts")]
    TooLong,
}

impl<P> Template<P> {
    /// Reads a template. `place` makes something of the names of a place, or returns what to write instead. There is at least one
    /// name, and none is empty.
    ///
    /// # Errors
    /// [`TemplateError`]
    pub fn parse(
        text: &str,
        place: impl Fn(Vec<String>) -> Result<P, &'static str>,
    ) -> Result<Self, TemplateError> {
        let at = |rest: &str| text[..text.len() - rest.len()].chars().count() + 1;
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(next) = rest.find(['{', '}']) {
            let (before, braced) = rest.split_at(next);
            let inside = braced.strip_prefix('{').and_then(|open| open.split_once('}'));
            let Some((inside, after)) = inside.filter(|(inside, _)| !inside.contains('{')) else {
                return Err(TemplateError::Brace(at(braced)));
            };
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.to_owned()));
            }
            let named = names(inside).and_then(&place);
            let wrong = |remedy| TemplateError::Place {
                place: inside.chars().take(SHOWN).collect(),
                at: at(braced),
                remedy,
            };
            parts.push(TemplatePart::Place(named.map_err(wrong)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.to_owned()));
        }
        if parts.len() > MAX_PARTS { Err(TemplateError::TooLong) } else { Ok(Self(parts)) }
    }

    /// Its parts, in their order.
    pub fn parts(&self) -> &[TemplatePart<P>] {
        &self.0
    }

    /// The text, with the value of each place; `None` where a place has none that can be written into a text.
    pub fn text(&self, value: impl Fn(&P) -> Option<Value>) -> Option<String> {
        let part = |part: &TemplatePart<P>| match part {
            TemplatePart::Text(text) => Some(text.clone()),
            TemplatePart::Place(place) => match value(place)? {
                Value::String(text) => Some(text),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        };
        self.0.iter().map(part).collect()
    }
}

/// The names of a place.
fn names(place: &str) -> Result<Vec<String>, &'static str> {
    let names: Vec<String> = place.split('.').map(str::to_owned).collect();
    let is_name =
        |name: &String| !name.is_empty() && !name.chars().any(|one| one.is_whitespace() || one.is_control());
    if names.iter().all(is_name) && names.len() <= MAX_NAMES {
        Ok(names)
    } else {
        Err("write at most 8 names of fields with points between them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Template<String>, TemplateError> {
        Template::parse(text, |names| match names[0].as_str() {
            "other" => Err("there is no other"),
            _ => Ok(names.join("/")),
        })
    }

    #[test]
    fn a_template_is_text_and_places_in_their_order() {
        let template = parse("a {b.c}{d} e").expect("a template");
        let text = |text: &str| TemplatePart::Text(text.to_owned());
        let place = |name: &str| TemplatePart::Place(name.to_owned());
        assert_eq!(template.parts(), [text("a "), place("b/c"), place("d"), text(" e")]);
        assert_eq!(parse("").expect("empty").parts(), []);
        let values = json!({ "b/c": 1, "d": true });
        let value = |place: &String| values.get(place).cloned();
        assert_eq!(template.text(value).as_deref(), Some("a 1true e"));
        for missing in [json!(null), json!([1]), json!({})] {
            assert_eq!(template.text(|_| Some(missing.clone())), None);
        }
        assert_eq!(template.text(|_| None), None);
    }

    #[test]
    fn each_fault_has_its_place() {
        for (text, at) in [("{a", 1), ("ä}", 2), ("a {b} }", 7), ("{a{b}", 1), ("{a}{", 4), ("}{a}", 1)] {
            assert_eq!(parse(text), Err(TemplateError::Brace(at)), "{text}");
        }
        for (text, place, at) in [
            ("{}", "", 1),
            ("ä {a b}", "a b", 3),
            ("{a}{b.}", "b.", 4),
            ("{a..b}", "a..b", 1),
            ("x{1.2.3.4.5.6.7.8.9}", "1.2.3.4.5.6.7.8.9", 2),
            ("{other}", "other", 1),
        ] {
            let Err(TemplateError::Place { place: found, at: found_at, .. }) = parse(text) else {
                panic!("{text}")
            };
            assert_eq!((found.as_str(), found_at), (place, at), "{text}");
        }
        let error = parse("{other}").expect_err("refused").to_string();
        assert_eq!(error, "has `{other}` at character 1; there is no other");
        assert!(parse(&"a{b}".repeat(16)).is_ok());
        assert_eq!(parse(&"a{b}".repeat(17)), Err(TemplateError::TooLong));
    }
}
