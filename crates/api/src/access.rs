//! Who a caller is and what the caller may see. Each decision is a function of bytes and of a given time: no HTTP, no
//! runtime, no database.

/// The claims of a signed token.
mod claims;
/// Sets of public keys.
mod jwks;
/// Reads public keys in PEM.
mod pem;
/// The caller.
mod principal;
/// Credentials that were revoked.
mod revocation;
/// Names of rooms, and the room patterns of tokens.
mod room;
/// Keys of services.
mod service_key;
/// Tickets, each for one stream.
mod ticket;
/// JSON Web Tokens.
mod token;

pub use jwks::{JwksError, verifying_keys};
pub use principal::{Principal, PublicRooms, Service, User};
pub use revocation::{Revocation, Revocations};
pub use room::{MAX_ROOM_BYTES, Room, RoomError, RoomKind, RoomPattern, is_address, is_kind, is_public_kind};
pub use service_key::{KeyHash, NoRandomness, Scope, Scopes, ServiceKey, WrongHash, WrongScope};
pub use ticket::{Ticket, random_name, sha256};
pub use token::{Algorithm, KeyError, MAX_TOKEN_BYTES, TokenError, Verifier, VerifyingKey};
