use std::collections::BTreeMap;

use super::problem::HttpProblem;
use crate::feed::parse_position;
use chainflume_api::access::{Principal, PublicRooms, Room};
use chainflume_outbox::Position;

/// Rooms of one connection.
pub(super) const MAX_ROOMS: usize = 128;

/// The parameters of a request, of those that are known.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Refuses what is not `known`, so that a misspelt filter does not answer everything.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, HttpProblem> {
        let mut found = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if is_token(&name) {
                let detail = "a token in an address ends in logs; send it in the header Authorization";
                return Err(HttpProblem::new(400, "token_in_query", detail));
            }
            if !known.contains(&&*name) || found.insert(name.into_owned(), value.into_owned()).is_some() {
                let detail = match known {
                    [] => "this path takes no parameters".to_owned(),
                    known => format!("parameters here, each once: {}", known.join(", ")),
                };
                return Err(HttpProblem::new(400, "bad_query", detail));
            }
        }
        Ok(Self(found))
    }

    /// All of them, for statements of the database, whose texts have no NUL.
    pub fn into_values(self) -> Result<BTreeMap<String, String>, HttpProblem> {
        match self.0.values().any(|value| value.contains('\0')) {
            true => Err(HttpProblem::new(400, "bad_query", "no parameter has NUL in it")),
            false => Ok(self.0),
        }
    }

    /// A parameter that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The position under `min_position`.
    pub fn min_position(&self) -> Result<Option<Position>, HttpProblem> {
        self.get("min_position").map(position).transpose()
    }

    /// The position under `since`.
    pub fn since(&self) -> Result<Option<Position>, HttpProblem> {
        self.get("since").map(position).transpose()
    }
}

/// Whether a parameter of this name is a token.
fn is_token(name: &str) -> bool {
    matches!(name, "token" | "access_token" | "jwt")
}

/// Whether an address has a token in its parameters.
pub(super) fn has_token(text: Option<&str>) -> bool {
    url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()).any(|(name, _)| is_token(&name))
}

/// Reads a position.
pub(super) fn position(text: &str) -> Result<Position, HttpProblem> {
    parse_position(text).ok_or_else(|| {
        HttpProblem::new(400, "bad_position", "a position is <epoch>.<seq>, as answers give it")
    })
}

/// Reads names of rooms and checks that the caller may join all of them.
pub(super) fn rooms<'a>(
    names: impl Iterator<Item = &'a str>,
    principal: &Principal,
    public: &PublicRooms,
) -> Result<Vec<Room>, HttpProblem> {
    let mut rooms: Vec<Room> = Vec::new();
    for name in names {
        let room = Room::parse(name).map_err(|error| HttpProblem::new(400, "bad_room", error.to_string()))?;
        if !rooms.contains(&room) {
            rooms.push(room);
        }
        if rooms.len() > MAX_ROOMS {
            return Err(HttpProblem::new(
                400,
                "too_many_rooms",
                format!("a connection is in at most {MAX_ROOMS} rooms"),
            ));
        }
    }
    if rooms.is_empty() {
        return Err(HttpProblem::new(400, "bad_room", "name at least one room"));
    }
    if rooms.iter().all(|room| principal.may_join(room, public)) {
        Ok(rooms)
    } else {
        Err(HttpProblem::forbidden())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_rooms_is_read_whole_however_often_it_has_one() {
        let named = |names: Vec<String>| {
            let read = rooms(names.iter().map(String::as_str), &Principal::Local, &PublicRooms(Vec::new()));
            read.map(|rooms| rooms.len()).map_err(|problem| problem.code)
        };
        let numbered = |count: usize| (0..count).map(|n| format!("order-{n}")).collect::<Vec<_>>();
        assert_eq!(named(numbered(MAX_ROOMS)), Ok(MAX_ROOMS));
        assert_eq!(named(numbered(MAX_ROOMS + 1)), Err("too_many_rooms"));
        let mut repeated = vec!["all".to_owned(); 2 * MAX_ROOMS];
        repeated.push("order-1".to_owned());
        assert_eq!(named(repeated.clone()), Ok(2));
        repeated.push("no room".to_owned());
        assert_eq!((named(repeated), named(Vec::new())), (Err("bad_room"), Err("bad_room")));
    }
}
