//! Takes the place of `faults` in a build without the feature of that name: the node does what a node should do. The
//! functions are those of `faults` that the node uses; their documentation is there.

use alloy_primitives::{B256, Bloom};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use serde_json::value::RawValue;

use super::DevChain;
use super::call::{Answer, Request, RpcError, Transport};
use super::connection::{ServedConnection, Then};
use chainflume_core::domain::{BlockRange, Log};

/// No faults.
#[derive(Clone, Default)]
pub(super) struct Faults;

impl Faults {
    pub(super) fn behaviour(&self) -> Behaviour {
        Behaviour
    }

    pub(super) fn watch(&self) -> SocketWatch {
        SocketWatch
    }

    pub(super) fn meet(&self, _chain: &DevChain, _request: Request) -> Plan {
        Plan
    }
}

/// A recent go-ethereum without limits.
#[derive(Clone, Debug)]
pub(super) struct Behaviour;

impl Behaviour {
    pub(super) fn check_batch(&self) -> Result<(), RpcError> {
        Ok(())
    }

    pub(super) fn check_addresses(&self, _count: u64, _range: BlockRange) -> Result<(), RpcError> {
        Ok(())
    }

    pub(super) fn check_range(&self, _range: BlockRange) -> Result<(), RpcError> {
        Ok(())
    }

    pub(super) fn most_logs(&self) -> usize {
        usize::MAX
    }

    pub(super) fn check_logs(&self, _count: u64, _range: BlockRange) -> Result<(), RpcError> {
        Ok(())
    }

    pub(super) fn check_end(&self, _end: u64, _head: u64) -> Result<(), RpcError> {
        Ok(())
    }

    pub(super) fn lag(&self, _transport: Transport) -> u64 {
        0
    }

    pub(super) fn serves_orphans(&self) -> bool {
        false
    }

    pub(super) fn refuses_sockets(&self) -> bool {
        false
    }

    pub(super) fn falsify(&self, _bloom: &mut Bloom, _receipts_root: &mut B256) {}
}

/// A call that nothing happens to.
#[derive(Debug)]
pub(super) struct Plan;

impl Plan {
    pub(super) async fn wait(&self) {}

    pub(super) fn answer(&self) -> Option<Answer> {
        None
    }

    pub(super) fn chain<'a>(&'a self, called: &'a DevChain) -> &'a DevChain {
        called
    }

    pub(super) fn lag(&self) -> u64 {
        0
    }

    pub(super) fn falsify(&self, _logs: &mut Vec<Log>, _end: u64) {}

    pub(super) fn edit(&self, answer: Box<RawValue>) -> Answer {
        Ok(answer)
    }

    pub(super) fn id(&self, called: Value) -> Value {
        called
    }

    pub(super) fn is_backwards(&self) -> bool {
        false
    }

    pub(super) fn wire(&self) -> Option<Wire> {
        None
    }
}

/// No fault of transport exists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire {}

impl Wire {
    pub(super) async fn over_http(
        self,
        _status: StatusCode,
        _body: String,
        _connection: &ServedConnection,
    ) -> Response {
        match self {}
    }

    pub(super) fn over_socket(self, _body: &str) -> (Option<String>, Then) {
        match self {}
    }
}

/// A node that serves each socket until its client closes it.
#[derive(Debug)]
pub(super) struct SocketWatch;

impl SocketWatch {
    pub(super) fn is_closed(&self) -> bool {
        false
    }

    pub(super) fn is_silent(&self) -> bool {
        false
    }

    pub(super) async fn changed(&mut self) -> bool {
        std::future::pending().await
    }
}
