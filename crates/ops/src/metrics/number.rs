/// Prometheus counts in floats; block numbers stay exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a metric is a float; block numbers are far below 2^53")]
pub(super) fn as_f64(value: u64) -> f64 {
    value as f64
}
