//! Installs the one TLS library of the process.

use std::sync::Once;

/// rustls needs one provider for the process; its HTTP and WebSocket clients cannot be built without. May be called any
/// number of times.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider is installed already, which serves as well.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    });
}
