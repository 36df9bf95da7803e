//! The certificate verifier for printers, whose certificates no public authority signed.
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Pin, TlsFault};

/// What the verifier learned; shared with [`super::PrinterTls`] because rustls flattens errors.
#[derive(Debug, Default)]
struct Findings {
    /// The stored pin.
    known: Option<Pin>,
    observed: Option<Pin>,
    fault: Option<TlsFault>,
}

/// Accepts exactly one server: no other printer's name, the known key, and proof that it holds that key.
///
/// Chains, validity dates and the X.509 version are not judged: printers send v1 leaves (bambu.md
/// 2.1), some without their intermediate, and clocks on both ends are often wrong. The identity is
/// the common name plus the pinned key.
pub(super) struct PinVerifier {
    expected_name: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
    findings: Arc<Mutex<Findings>>,
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinVerifier").field("expected_name", &self.expected_name).finish_non_exhaustive()
    }
}

impl PinVerifier {
    pub(super) fn new(
        expected_name: Option<String>,
        known: Option<Pin>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let findings = Arc::new(Mutex::new(Findings { known, ..Findings::default() }));
        Self { expected_name, algorithms, findings }
    }

    /// The next key that proves itself becomes the known one.
    pub(super) fn forget(&self) {
        *self.findings() = Findings::default();
    }

    pub(super) fn observed(&self) -> Option<Pin> {
        self.findings().observed
    }

    pub(super) fn fault(&self) -> Option<TlsFault> {
        self.findings().fault.clone()
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, fault: TlsFault) -> rustls::Error {
        let error = match &fault {
            TlsFault::BadCertificate(_) => rustls::Error::InvalidCertificate(CertificateError::BadEncoding),
            TlsFault::BadSignature(_) => rustls::Error::InvalidCertificate(CertificateError::BadSignature),
            TlsFault::WrongName { .. } => {
                rustls::Error::InvalidCertificate(CertificateError::NotValidForName)
            }
            TlsFault::ChangedPin { .. } => {
                rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
            }
        };
        self.findings().fault = Some(fault);
        error
    }

    fn check_identity(&self, certificate: &CertificateDer<'_>) -> Result<(), TlsFault> {
        let leaf = Leaf::parse(certificate)?;
        if let Some(expected) = &self.expected_name
            && *expected != leaf.common_name
        {
            if names_a_printer(&leaf.common_name) {
                return Err(TlsFault::WrongName { expected: expected.clone(), found: leaf.common_name });
            }
            // A bridge or an emulated printer: its certificate claims to be nobody's. Anybody can write a serial
            // number into a certificate of his own, so it is the pinned key that protects, here as everywhere.
            tracing::debug!(name = ?leaf.common_name, "The certificate names no printer; its key is what counts.");
        }
        // A key seen earlier through this verifier binds just like a stored one: the control and
        // data connections of one printer cannot be two machines.
        let expected = {
            let findings = self.findings();
            findings.known.or(findings.observed)
        };
        match expected {
            Some(expected) if expected != leaf.pin => Err(TlsFault::ChangedPin { expected, found: leaf.pin }),
            _ => Ok(()),
        }
    }

    /// Remembers the key only now that the server has proved that it holds it; of two first
    /// handshakes at once the earlier binds the later.
    fn record(&self, pin: Pin) -> Result<HandshakeSignatureValid, rustls::Error> {
        let expected = {
            let mut findings = self.findings();
            let expected = *findings.observed.get_or_insert(pin);
            if expected == pin {
                findings.fault = None;
                return Ok(HandshakeSignatureValid::assertion());
            }
            expected
        };
        Err(self.refuse(TlsFault::ChangedPin { expected, found: pin }))
    }

    fn verify_tls12(
        &self,
        message: &[u8],
        spki: &SubjectPublicKeyInfoDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<(), rustls::Error> {
        let Some((_, algorithms)) =
            self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme)
        else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        let key = webpki::RawPublicKeyEntity::try_from(spki)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        // In TLS 1.2 the scheme fixes the hash but not the curve, hence several candidates.
        let verified = algorithms
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
        if verified { Ok(()) } else { Err(CertificateError::BadSignature.into()) }
    }
}

/// Length of the serial number of a Bambu printer (bambu.md 1.3).
const SERIAL_LENGTH: usize = 15;

/// Whether this common name is a serial number, and so that of another printer than the expected one.
fn names_a_printer(name: &str) -> bool {
    name.len() == SERIAL_LENGTH && name.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check_identity(end_entity)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|fault| self.refuse(fault))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let leaf = Leaf::parse(certificate).map_err(|fault| self.refuse(fault))?;
        self.verify_tls12(message, &leaf.spki, signed)
            .map_err(|error| self.refuse(TlsFault::BadSignature(error.to_string())))?;
        self.record(leaf.pin)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let leaf = Leaf::parse(certificate).map_err(|fault| self.refuse(fault))?;
        verify_tls13_signature_with_raw_key(message, &leaf.spki, signed, &self.algorithms)
            .map_err(|error| self.refuse(TlsFault::BadSignature(error.to_string())))?;
        self.record(leaf.pin)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The parts of a leaf certificate that identify a printer.
struct Leaf<'a> {
    common_name: String,
    spki: SubjectPublicKeyInfoDer<'a>,
    pin: Pin,
}

impl<'a> Leaf<'a> {
    fn parse(certificate: &'a CertificateDer<'_>) -> Result<Self, TlsFault> {
        let (_, parsed) = X509Certificate::from_der(certificate.as_ref())
            .map_err(|error| TlsFault::BadCertificate(error.to_string()))?;
        let name = parsed.subject().iter_common_name().next();
        let common_name = name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        let spki = parsed.tbs_certificate.subject_pki.raw;
        Ok(Self { common_name, spki: SubjectPublicKeyInfoDer::from(spki), pin: Pin::of_spki(spki) })
    }
}
