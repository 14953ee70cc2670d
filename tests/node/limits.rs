//! What nodes allow and how they refuse: history comes through whole, with few refused calls, and none of their
//! misbehaviour is taken for an answer.

mod any;
mod bundles;
mod compression;
mod excluded;
mod many_addresses;
mod misbehaviour;
mod scenes;
mod script;
mod together;
