use std::error::Error;

/// An error with all its causes, outermost first, joined by colons. A cause that repeats the text before it is omitted.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let line = cause.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::causes;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(&'static str, #[source] Option<Box<Failed>>);

    #[test]
    fn each_cause_occurs_once() {
        let error =
            Failed("database", Some(Box::new(Failed("no route", Some(Box::new(Failed("no route", None)))))));
        assert_eq!(causes(&error), "database: no route");
    }
}
