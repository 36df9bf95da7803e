//! Server certificates of the kinds Bambu printers present (dossier 2.1), from throw-away keys in `fixtures/tls`.
//!
//! Classic printers show an X.509 **v1** leaf, CN = serial, and send their CA along. No library writes v1 any more,
//! so the few DER fields are put together here and signed with ring.

use std::io;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion};

const CA_KEY: &str = include_str!("../../../fixtures/tls/ca.key.pem");
const DEVICE_KEYS: [&str; 2] = [
    include_str!("../../../fixtures/tls/device-a.key.pem"),
    include_str!("../../../fixtures/tls/device-b.key.pem"),
];

/// Version of the leaf certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// X1, P1, A1 and the first H2D: v1, RSA-2048, leaf and CA are sent.
    V1,
    /// P2S and newer: v3 without SAN, only the leaf is sent.
    V3,
}

/// What a service needs to answer a TLS handshake. `generation` picks the key: an odd one is a changed certificate.
pub(super) fn server_config(
    kind: Certificate,
    serial: &str,
    generation: usize,
    tls13: bool,
) -> io::Result<ServerConfig> {
    let pem = DEVICE_KEYS.get(generation % DEVICE_KEYS.len()).copied().unwrap_or(CA_KEY);
    let chain = match kind {
        Certificate::V1 => v1_chain(serial, pem)?,
        Certificate::V3 => v3_chain(serial, pem)?,
    };
    let key = any_supported_type(&PrivateKeyDer::Pkcs8(pkcs8(pem)?)).map_err(io::Error::other)?;
    const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];
    const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(if tls13 { BOTH } else { OLD })
        .map_err(io::Error::other)?
        .with_no_client_auth()
        // Not `with_single_cert`: that parses the leaf, and refuses v1.
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
    Ok(config)
}

fn pkcs8(pem: &str) -> io::Result<PrivatePkcs8KeyDer<'static>> {
    PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)
}

fn rsa(pem: &str) -> io::Result<RsaKeyPair> {
    RsaKeyPair::from_pkcs8(pkcs8(pem)?.secret_pkcs8_der())
        .map_err(|error| io::Error::other(error.to_string()))
}

fn v1_chain(serial: &str, pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let (ca, device) = (rsa(CA_KEY)?, rsa(pem)?);
    let issuer = [("2.5.4.6", "XX"), ("2.5.4.10", "moongate simulated printers"), ("2.5.4.3", "SIM CA")];
    let leaf = v1(&issuer, &[("2.5.4.3", serial)], &device, &ca, 2)?;
    let root = v1(&issuer, &issuer, &ca, &ca, 1)?;
    Ok(vec![leaf, root])
}

fn v3_chain(serial: &str, pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let pair = |pem: &str| {
        rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_RSA_SHA256).map_err(io::Error::other)
    };
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "SIM Device CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(params, pair(CA_KEY)?);
    let mut leaf = rcgen::CertificateParams::default();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, serial);
    let leaf = leaf.signed_by(&pair(pem)?, &issuer).map_err(io::Error::other)?;
    Ok(vec![leaf.der().clone()])
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = content.len();
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let used: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
        out.push(0x80 | used.len() as u8);
        out.extend(used);
    }
    out.extend_from_slice(content);
    out
}

fn oid(text: &str) -> Vec<u8> {
    let mut arcs = text.split('.').filter_map(|arc| arc.parse::<u32>().ok());
    let first = arcs.next().unwrap_or(0) * 40 + arcs.next().unwrap_or(0);
    let mut body = vec![first as u8];
    for arc in arcs {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        body.extend(groups.iter().rev());
    }
    der(0x06, &body)
}

fn name(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut rdns = Vec::new();
    for (kind, value) in parts {
        let pair = [oid(kind), der(0x0c, value.as_bytes())].concat();
        rdns.extend(der(0x31, &der(0x30, &pair)));
    }
    der(0x30, &rdns)
}

/// A v1 certificate: no version field, no extensions (RFC 5280 4.1).
fn v1(
    issuer: &[(&str, &str)],
    subject: &[(&str, &str)],
    subject_key: &RsaKeyPair,
    signer: &RsaKeyPair,
    number: u8,
) -> io::Result<CertificateDer<'static>> {
    let null = der(0x05, &[]);
    let sha256_rsa = der(0x30, &[oid("1.2.840.113549.1.1.11"), null.clone()].concat());
    let mut bits = vec![0u8];
    bits.extend_from_slice(subject_key.public_key().as_ref());
    let spki =
        der(0x30, &[der(0x30, &[oid("1.2.840.113549.1.1.1"), null].concat()), der(0x03, &bits)].concat());
    let validity = der(0x30, &[der(0x17, b"240325000000Z"), der(0x17, b"340323000000Z")].concat());
    let tbs = der(
        0x30,
        &[der(0x02, &[number]), sha256_rsa.clone(), name(issuer), validity, name(subject), spki].concat(),
    );
    let mut signature = vec![0u8; signer.public().modulus_len()];
    signer
        .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &tbs, &mut signature)
        .map_err(|_| io::Error::other("ring refused to sign"))?;
    let mut signed = vec![0u8];
    signed.extend(signature);
    Ok(CertificateDer::from(der(0x30, &[tbs, sha256_rsa, der(0x03, &signed)].concat())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

    #[test]
    fn the_v1_leaf_names_the_serial_and_is_signed_by_its_ca() {
        let chain = v1_chain("01P00A000000001", DEVICE_KEYS[0]).unwrap();
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let (_, root) = X509Certificate::from_der(&chain[1]).unwrap();
        assert_eq!((leaf.version(), root.version()), (X509Version::V1, X509Version::V1));
        assert_eq!(leaf.subject().to_string(), "CN=01P00A000000001");
        assert_eq!(leaf.issuer(), root.subject());
        let spki = root.public_key().parsed().unwrap();
        assert!(matches!(spki, x509_parser::public_key::PublicKey::RSA(_)));
        let key = &root.public_key().subject_public_key.data;
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, key)
            .verify(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data)
            .unwrap();
    }

    #[test]
    fn the_v3_leaf_names_the_serial_and_has_no_alternative_name() {
        let chain = v3_chain("22E00A000000001", DEVICE_KEYS[1]).unwrap();
        assert_eq!(chain.len(), 1);
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        assert_eq!(leaf.version(), X509Version::V3);
        assert_eq!(leaf.subject().to_string(), "CN=22E00A000000001");
        assert!(leaf.subject_alternative_name().unwrap().is_none());
    }
}
