use std::net::SocketAddr;
use std::time::Duration;

use super::report::Report;
use chainflume_ops::tls;

/// Timeout: a healthy daemon answers from memory.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Fetches the report of the daemon at this admin address, ready or not; `None` if no daemon answers.
pub async fn ask(admin: SocketAddr) -> Option<Report> {
    tls::install();
    // No authorities: the address speaks plain HTTP, and a machine may have none.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(REQUEST_TIMEOUT).build();
    let client = client.ok()?;
    let answer = client.get(format!("http://{admin}/readyz")).send().await.ok()?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}
