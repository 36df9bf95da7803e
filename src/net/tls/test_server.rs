//! TLS identities and servers on loopback for the tests of this crate.
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The common name of the checked-in v1 certificates and the default of the v3 ones.
pub(crate) const SERIAL: &str = "01S00A000000001";

pub(crate) struct Identity {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    pub fn v3(common_name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    pub fn v1_rsa() -> Self {
        Self::from_pem(
            include_bytes!("../../../fixtures/tls/v1-leaf.pem"),
            include_bytes!("../../../fixtures/tls/v1-leaf-key.pem"),
        )
    }

    pub fn v1_p256() -> Self {
        Self::from_pem(
            include_bytes!("../../../fixtures/tls/v1-leaf-p256.pem"),
            include_bytes!("../../../fixtures/tls/v1-leaf-p256-key.pem"),
        )
    }

    fn from_pem(certificate: &[u8], key: &[u8]) -> Self {
        Self {
            certificate: CertificateDer::from_pem_slice(certificate).unwrap(),
            key: PrivateKeyDer::from_pem_slice(key).unwrap(),
        }
    }
}

/// Hands out one certificate without checking that the key belongs to it (so that tests can lie)
/// and without parsing it (rustls refuses v1 there).
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

pub(crate) fn server_config(
    identity: &Identity,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let key = provider.key_provider.load_private_key(identity.key.clone_key()).unwrap();
    let certified = CertifiedKey::new(vec![identity.certificate.clone()], key);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Fixed(Arc::new(certified))));
    Arc::new(config)
}
