//! Names the one TLS library of the process.

use std::sync::Once;

/// rustls wants one provider for the process, and its HTTP and WebSocket clients refuse to be built without.
/// May be called any number of times.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program around us has chosen a provider already, which is as good.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    });
}
