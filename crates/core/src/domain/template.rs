use serde_json::Value;

/// Maximum number of parts of a template: a title and a payload need few.
const MAX_PARTS: usize = 32;
/// Maximum number of names of a place.
const MAX_NAMES: usize = 8;
/// Number of characters of a place that an error repeats.
const SHOWN: usize = 60;

/// Text with places to fill in: `Sent {data.amount} to {userId}`. A place has names of fields with points between them. There are no
/// conditions and no loops, which users would have to learn and this program to bound. `P` is the parsed form of a place, which
/// depends on the use of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<P>(Vec<TemplatePart<P>>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart<P> {
    /// Text that is copied.
    Text(String),
    /// A place to fill in.
    Place(P),
}

/// Why a text is not a template. Characters are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its counterpart.
    #[error("has a `{{` or `}}` without its counterpart at character {0}; a place is written {{name}}")]
    Brace(usize),
    /// A place that cannot be read, or that these templates do not have.
    #[error("has `{{{place}}}` at character {at}; {remedy}")]
    Place {
        /// The text between the braces, shortened.
        place: String,
        /// Position of its opening brace.
        at: usize,
        /// What to write instead.
        remedy: &'static str,
    },
    /// Too many parts.
    #[error("has more than {MAX_PARTS} parts")]
    TooLong,
}

impl<P> Template<P> {
    /// Reads a template. `place` turns the names of a place into a `P`, or returns what to write instead. It gets at least one name,
    /// and no empty one.
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

    /// The text with the values of the places. `None` if a place has no value, or one that is not a text, a number or a boolean.
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
        assert_eq!(parse(&"a{b}".repeat(16)).map(|template| template.parts().len()), Ok(32));
        assert_eq!(parse(&"a{b}".repeat(17)), Err(TemplateError::TooLong));
    }
}
