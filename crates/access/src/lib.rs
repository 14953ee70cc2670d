//! Who a caller is and what the caller may see. Decisions are functions of bytes and of the time that is given: no HTTP, no runtime,
//! no database.

/// What a signed token claims.
mod claims;
/// Sets of public keys.
mod jwks;
/// Reads public keys in PEM.
mod pem;
/// Who asks.
mod principal;
/// What is worth nothing any more.
mod revocation;
/// Names of rooms, and which names a token opens.
mod room;
/// Keys of services.
mod service_key;
/// What opens one stream once.
mod ticket;
/// JSON Web Tokens.
mod token;

pub use jwks::{JwksError, verifying_keys};
pub use principal::{Principal, PublicRooms, Service, User};
pub use revocation::{Revocation, Revocations};
pub use room::{MAX_ROOM_BYTES, Room, RoomError, RoomKind, RoomPattern};
pub use service_key::{KeyHash, NoRandomness, Scope, Scopes, ServiceKey, WrongHash, WrongScope};
pub use ticket::{Ticket, sha256};
pub use token::{Algorithm, KeyError, MAX_TOKEN_BYTES, TokenError, Verifier, VerifyingKey};
