//! How every HTTP client of callbook begins: one TLS, which is rustls with ring, the same that the database has.

use reqwest::{Client, ClientBuilder};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// A client for a server of this machine, such as another callbook: no proxy comes between, no certificate is
/// trusted, and none is read from the disk.
pub fn local() -> ClientBuilder {
    with_ring().no_proxy().tls_certs_only([])
}

/// Builds a client for a server elsewhere. It trusts the machine's certificates and, where the machine has none (an
/// image without any), Mozilla's.
pub fn remote(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
    configure(with_ring()).build().or_else(|_| configure(trusting_mozilla()).build())
}

fn with_ring() -> ClientBuilder {
    // It fails only where a provider is installed already, which is then used.
    let _ = ring::default_provider().install_default();
    Client::builder()
}

fn trusting_mozilla() -> ClientBuilder {
    let begin = with_ring();
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    begin.tls_backend_preconfigured(
        ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_certificates_can_have_a_client_all_the_same() {
        // reqwest takes any value for a configuration, and refuses here what is none of its own rustls.
        assert!(trusting_mozilla().build().is_ok());
        assert!(local().build().is_ok());
    }
}
