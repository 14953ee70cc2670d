//! Reads a long list while it arrives. An answer of ten thousand logs is more than six megabytes of JSON, of which
//! two are kept, and several answers are in flight at a time.

use serde::de::DeserializeOwned;
use serde_json::Deserializer;

use super::body::BodyConsumer;

/// Hands out the elements of an answer's `result` and keeps the text around them, `{"id":1,"result":[]}`, which is
/// then parsed as usual. In a batch this holds for every answer whose result is a list. Elements of a list that is
/// not recognised are kept.
pub(super) struct StreamedList<'a, T> {
    each: &'a mut (dyn FnMut(T) + Send),
    at: ListState,
    /// Whether other answers follow.
    of_batch: bool,
    kept: Vec<u8>,
    /// The bytes of the list that are no whole element yet.
    rest: Vec<u8>,
    /// Length of `rest` at which it is parsed again: an element of megabytes is not parsed anew with every packet.
    worth: usize,
    /// Number of elements that were handed out.
    elements: usize,
    /// Whether a comma came after the last element.
    comma: bool,
}

/// Position of the next byte in the answer.
enum ListState {
    Before(ResultFinder),
    Within,
    After,
    /// Why an element cannot be read. The rest of the answer is not read.
    Wrong(String),
}

impl<'a, T: DeserializeOwned> StreamedList<'a, T> {
    pub(super) fn new(each: &'a mut (dyn FnMut(T) + Send)) -> Self {
        let (kept, rest) = (Vec::new(), Vec::new());
        Self {
            each,
            at: ListState::Before(ResultFinder::default()),
            of_batch: false,
            kept,
            rest,
            worth: 0,
            elements: 0,
            comma: false,
        }
    }

    /// As [`Self::new`], for the answers to a batch.
    pub(super) fn of_batch(each: &'a mut (dyn FnMut(T) + Send)) -> Self {
        let at = ListState::Before(ResultFinder { own: 2, ..ResultFinder::default() });
        Self { at, of_batch: true, ..Self::new(each) }
    }

    /// The element that cannot be read, and why.
    pub(super) fn wrong(&self) -> Option<&str> {
        match &self.at {
            ListState::Wrong(wrong) => Some(wrong),
            _ => None,
        }
    }

    fn wrong_with(&mut self, why: &str) {
        self.at = ListState::Wrong(format!("element {} of the list: {why}", self.elements));
        self.rest = Vec::new();
    }

    /// Handles the end of the list at this byte of `rest`.
    fn end(&mut self, at: usize) {
        let rest = std::mem::take(&mut self.rest);
        let (_, after) = rest.split_at(at + 1);
        self.kept.push(b']');
        self.at = match self.of_batch {
            true => ListState::Before(ResultFinder { own: 2, depth: 2, ..ResultFinder::default() }),
            false => ListState::After,
        };
        (self.elements, self.worth) = (0, 0);
        self.take(after);
    }

    /// Hands out the elements that are whole.
    fn hand_out(&mut self) {
        let mut read = 0;
        loop {
            read += self.rest[read..].iter().take_while(|byte| b" \n\r\t".contains(byte)).count();
            match self.rest.get(read) {
                Some(b']') if self.comma => {
                    return self.wrong_with("a comma comes before it and nothing after");
                }
                Some(b']') => return self.end(read),
                Some(b',') if !self.comma && self.elements > 0 => {
                    (self.comma, read) = (true, read + 1);
                    continue;
                }
                Some(_) if self.comma || self.elements == 0 => {}
                Some(_) => return self.wrong_with("no comma comes before it"),
                None => break,
            }
            let mut values = Deserializer::from_slice(&self.rest[read..]).into_iter::<T>();
            match values.next() {
                Some(Ok(element)) => {
                    (self.each)(element);
                    (self.elements, self.comma) = (self.elements + 1, false);
                    read += values.byte_offset();
                }
                Some(Err(error)) if error.is_data() => return self.wrong_with(&error.to_string()),
                // An element that is cut in the middle looks like the end of the text, or like wrong JSON (`-`).
                // Wrong JSON stays in the kept text and is found when that is parsed.
                _ => break,
            }
        }
        self.rest.drain(..read);
        self.worth = 2 * self.rest.len();
    }
}

impl<T: DeserializeOwned> BodyConsumer for StreamedList<'_, T> {
    fn expect(&mut self, _: usize) {}

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.at {
            ListState::Before(opening) => match bytes.iter().position(|byte| opening.is_next(*byte)) {
                Some(at) => {
                    self.kept.extend_from_slice(&bytes[..=at]);
                    self.at = ListState::Within;
                    self.take(&bytes[at + 1..]);
                }
                None => self.kept.extend_from_slice(bytes),
            },
            ListState::Within => {
                self.rest.extend_from_slice(bytes);
                if self.rest.len() >= self.worth {
                    self.hand_out();
                }
            }
            ListState::After => self.kept.extend_from_slice(bytes),
            ListState::Wrong(_) => {}
        }
    }

    fn finish(&mut self) -> Vec<u8> {
        if matches!(self.at, ListState::Within) {
            self.hand_out();
            // The answer was cut off: the rest is parsed with the kept text.
            self.kept.append(&mut self.rest);
        }
        std::mem::take(&mut self.kept)
    }
}

/// Finds the `[` of `"result":[` among the top keys of an answer.
struct ResultFinder {
    /// Depth of an answer's top keys.
    own: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
    /// Whether the last byte other than a blank is a colon.
    keyed: bool,
    /// The beginning of the last string.
    text: Vec<u8>,
}

impl Default for ResultFinder {
    fn default() -> Self {
        Self { own: 1, depth: 0, quoted: false, escaped: false, keyed: false, text: Vec::new() }
    }
}

const RESULT: &[u8] = b"result";

impl ResultFinder {
    fn is_next(&mut self, byte: u8) -> bool {
        if self.quoted {
            self.quoted = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            if self.quoted && self.text.len() <= RESULT.len() {
                self.text.push(byte);
            }
            return false;
        }
        match byte {
            b'[' if self.depth == self.own && self.keyed && self.text == RESULT => return true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            b'"' => {
                self.quoted = true;
                self.text.clear();
            }
            _ => {}
        }
        self.keyed = byte == b':' || self.keyed && byte.is_ascii_whitespace();
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The elements, the kept text and the error of an answer that arrives in pieces of this many bytes.
    fn read(text: &str, piece: usize) -> (Vec<Value>, String, Option<String>) {
        read_as::<Value>(text, piece)
    }

    fn read_as<T: DeserializeOwned + Send>(text: &str, piece: usize) -> (Vec<T>, String, Option<String>) {
        let mut elements = Vec::new();
        let mut each = |element| elements.push(element);
        let mut listing = StreamedList::new(&mut each);
        text.as_bytes().chunks(piece).for_each(|piece| listing.take(piece));
        let kept = String::from_utf8(listing.finish()).expect("text");
        let wrong = listing.wrong().map(str::to_owned);
        (elements, kept, wrong)
    }

    #[test]
    fn elements_are_handed_out_and_what_is_around_them_is_kept() {
        let text = r#" {"id": 7, "result" : [ {"a":[1,"]"]}, {"b":{"\"":"\\"}} ] , "more": [3] } "#;
        for piece in 1..text.len() {
            let (elements, kept, wrong) = read(text, piece);
            assert_eq!(elements, [json!({"a": [1, "]"]}), json!({"b": {"\"": "\\"}})], "{piece}");
            assert_eq!(kept, r#" {"id": 7, "result" : [] , "more": [3] } "#, "{piece}");
            assert_eq!(wrong, None);
        }
    }

    #[test]
    fn of_a_batch_the_elements_of_every_list_are_handed_out() {
        let text = r#"[{"id":1,"result":{"result":[4]}}, {"result":[ 1,2 ],"id":2},{"id":3,"result":null},
            {"result":[],"id":4},{"id":5,"result":[3]},{"id":6,"result":{"result":[4]}}]"#;
        for piece in 1..text.len() {
            let mut elements = Vec::new();
            let mut each = |element: u8| elements.push(element);
            let mut listing = StreamedList::of_batch(&mut each);
            text.as_bytes().chunks(piece).for_each(|piece| listing.take(piece));
            let kept = String::from_utf8(listing.finish()).expect("text");
            let expected = text.replace("[ 1,2 ]", "[]").replace("[3]", "[]");
            assert_eq!((listing.wrong(), kept), (None, expected), "{piece}");
            assert_eq!(elements, [1, 2, 3], "{piece}");
        }
    }

    #[test]
    fn what_is_no_list_among_the_answers_own_keys_is_kept() {
        for text in [
            r#"{"id":1,"error":{"data":{"result":[{"a":1}]}}}"#,
            r#"{"id":1,"result":{"a":[{"b":1}]}}"#,
            r#"{"id":1,"result":null}"#,
            r#"{"id":"\"result\":[{}]"}"#,
            r#"{"x":"result","y":[{}]}"#,
            r#"{"re\u0073ult":[{"a":1}]}"#,
            r#"[{"id":1,"result":[{"a":1}]}]"#,
            "<html>[{}]</html>",
            "",
        ] {
            for piece in [1, 5, 1000] {
                assert_eq!(read(text, piece), (vec![], text.to_owned(), None));
            }
        }
    }

    #[test]
    fn what_was_cut_off_shows_in_what_is_kept() {
        for piece in [1, 4, 1000] {
            let (elements, kept, wrong) = read(r#"{"result":[{"a":1},{"a":2},{"a""#, piece);
            assert_eq!(elements, [json!({"a": 1}), json!({"a": 2})]);
            assert_eq!((kept.as_str(), wrong), (r#"{"result":[{"a""#, None));
        }
    }

    #[test]
    fn an_element_that_cannot_be_read_ends_it_and_is_named() {
        for piece in [1, 4, 1000] {
            let (elements, _, wrong) = read_as::<[u8; 1]>(r#"{"result":[[1],["two"],[3]]}"#, piece);
            assert_eq!(elements, [[1]]);
            let wrong = wrong.expect("the second is no number");
            assert!(wrong.starts_with("element 1 of the list: invalid type"), "{wrong}");
        }
    }

    /// An object of which one field is read and all others are skipped, as of a log.
    #[derive(serde::Deserialize)]
    struct ParsedItem {
        known: u8,
    }

    #[test]
    fn numbers_may_be_cut_anywhere() {
        let text =
            r#"{"result":[{"a":-1,"known":1},{"b":1.5,"known":2},{"c":[1e+5,-0.1E-2],"known":3}],"id":1}"#;
        for piece in 1..text.len() {
            let (elements, kept, wrong) = read_as::<ParsedItem>(text, piece);
            assert_eq!(
                elements.iter().map(|element| element.known).collect::<Vec<_>>(),
                [1, 2, 3],
                "{piece}"
            );
            assert_eq!((kept.as_str(), wrong), (r#"{"result":[],"id":1}"#, None), "{piece}");
        }
    }

    #[test]
    fn a_list_that_is_none_is_not_taken_for_one() {
        for list in
            ["[,{}]", "[{},,{}]", "[{}{}]", "[{},]", "[{} {}]", "[,]", "[{\"a\":-}]", "[{\"a\" 1}]", "[{}}"]
        {
            for piece in [1, 3, 1000] {
                let (_, kept, wrong) = read(&format!("{{\"result\":{list}}}"), piece);
                let refused = wrong.is_some() || serde_json::from_str::<Value>(&kept).is_err();
                assert!(refused, "{list} {piece}: {kept}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_list_in_any_pieces(
            elements in proptest::collection::vec("[\\[\\]{}\",:\\\\ a]{0,60}", 0..9),
            piece in 1..200_usize,
            pretty in any::<bool>(),
        ) {
            let objects: Vec<Value> = elements.iter().map(|text| json!({ "k": text, text: [text] })).collect();
            let answer = json!({ "result": objects, "id": 1 });
            let text = if pretty { serde_json::to_string_pretty(&answer) } else { serde_json::to_string(&answer) };
            let (read, kept, wrong) = read(&text.expect("it is JSON"), piece);
            prop_assert_eq!((read, wrong), (objects, None));
            let kept: Value = serde_json::from_str(&kept).expect("it is JSON still");
            prop_assert_eq!(kept, json!({ "result": [], "id": 1 }));
        }
    }
}
