use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use chainflume_ops::health::{MethodHealth, ProviderHealth};

/// A provider in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderReport {
    /// Its name, or its host.
    pub name: String,
    /// `any`, `live`, `history` or `audit`.
    #[serde(default)]
    pub role: String,
    /// Whether the newest blocks are read from it.
    pub live: bool,
    /// Whether old blocks are read from it.
    pub history: bool,
    /// `well`, `failing`, `behind`, `wrong_chain`, `contradicts` or `incapable`.
    pub state: String,
    /// Its newest block at the last probe; unknown if the chain has only one provider.
    pub head: Option<u64>,
    /// Number of blocks that the other providers have and it lacks.
    pub behind: u64,
    /// Usual time of an answer.
    pub latency_seconds: Option<f64>,
    /// Failed requests since the start.
    pub failures: u64,
    /// The last failure, until a request succeeds.
    pub last_error: Option<String>,
    /// Use of the JSON-RPC methods since the start.
    #[serde(default)]
    pub rpc: BTreeMap<String, RpcReport>,
}

/// A JSON-RPC method in a [`Report`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RpcReport {
    /// Calls.
    pub requests: u64,
    /// Calls without a usable answer.
    pub failed: u64,
    /// Compute units, by the table of `[chain.pace.compute_units]`.
    pub compute_units: u64,
}

impl From<&ProviderHealth> for ProviderReport {
    fn from(provider: &ProviderHealth) -> Self {
        Self {
            name: provider.name.clone(),
            role: provider.role.to_owned(),
            live: provider.live,
            history: provider.history,
            state: provider.state.to_owned(),
            head: provider.head,
            behind: provider.behind,
            latency_seconds: provider.latency.map(|latency| latency.as_secs_f64()),
            failures: provider.failures,
            last_error: provider.last_error.clone(),
            rpc: by_method(&provider.rpc),
        }
    }
}

pub(super) fn by_method(methods: &[MethodHealth]) -> BTreeMap<String, RpcReport> {
    methods.iter().map(|method| (method.method.to_owned(), method.into())).collect()
}

impl From<&MethodHealth> for RpcReport {
    fn from(method: &MethodHealth) -> Self {
        let MethodHealth { requests, failed, compute_units, .. } = *method;
        Self { requests, failed, compute_units }
    }
}
