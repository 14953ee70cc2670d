use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{
    BUILD_INFO, application, audits, chains, database, follow, inbound, leases, loops, outbox, outgoing,
    past, providers, push, triggers,
};

/// Installs the recorder for the process and describes each metric.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let seconds = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    ];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .set_buckets_for_metric(
            Matcher::Suffix("_depth_blocks".to_owned()),
            &[1.0, 2.0, 3.0, 6.0, 12.0, 32.0, 64.0, 128.0],
        )?
        .install_recorder()?;
    chains::describe();
    audits::describe();
    database::describe();
    outbox::describe();
    outgoing::describe();
    follow::describe();
    inbound::describe();
    leases::describe();
    loops::describe();
    loops::start();
    past::describe();
    providers::describe();
    push::describe();
    application::describe();
    triggers::describe();
    describe_gauge!(BUILD_INFO, "1, with the version");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}
