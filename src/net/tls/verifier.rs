//! The certificate verifier for printers, whose certificates no public authority signed.
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{KnownKeys, Pin, TlsFault};

/// The keys of one printer as all its verifiers know them.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The stored keys.
    known: KnownKeys,
    /// Those that proved themselves since the start.
    observed: KnownKeys,
    /// The certificate of the main service did not carry the expected name.
    nameless: bool,
}

impl Findings {
    fn main(&self) -> Option<Pin> {
        self.known.main.or(self.observed.main)
    }

    fn other(&self, service: &str) -> Option<Pin> {
        let of = |keys: &KnownKeys| keys.others.get(service).copied();
        of(&self.known).or_else(|| of(&self.observed))
    }

    /// The key that this service must show; `None` where the first one that proves itself is taken.
    ///
    /// A printer has one key and its serial number in the certificate. What shows a certificate without it is a bridge
    /// or an emulated printer: its services may be several programs, each with a key of its own.
    fn expected(&self, service: Service, shown: Pin, named: bool) -> Option<Pin> {
        let main = self.main();
        match service {
            None => main,
            Some(_) if main == Some(shown) => main,
            Some(service) => self.other(service).or(main.filter(|_| !self.nameless || named)),
        }
    }

    fn record(&mut self, service: Service, pin: Pin, named: bool) {
        match service {
            None => {
                self.observed.main = Some(pin);
                self.nameless = !named;
            }
            Some(_) if self.main() == Some(pin) => {}
            Some(_) if named && self.main().is_none() => self.observed.main = Some(pin),
            Some(service) => {
                self.observed.others.insert(service.to_owned(), pin);
            }
        }
    }

    pub(super) fn keys(&self) -> KnownKeys {
        let mut keys = self.known.clone();
        keys.main = keys.main.or(self.observed.main);
        for (service, pin) in &self.observed.others {
            keys.others.entry(service.clone()).or_insert(*pin);
        }
        keys
    }
}

/// `None` is the main one.
pub(super) type Service = Option<&'static str>;

/// Accepts exactly one server: no other printer's name, the known key, and proof that it holds that key.
///
/// Chains, validity dates and the X.509 version are not judged: printers send v1 leaves (bambu.md
/// 2.1), some without their intermediate, and clocks on both ends are often wrong. The identity is
/// the common name plus the pinned key.
pub(super) struct PinVerifier {
    expected_name: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
    service: Service,
    findings: Arc<Mutex<Findings>>,
    /// Kept because rustls flattens errors.
    fault: Mutex<Option<TlsFault>>,
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinVerifier").field("expected_name", &self.expected_name).finish_non_exhaustive()
    }
}

impl PinVerifier {
    pub(super) fn new(
        expected_name: Option<String>,
        known: KnownKeys,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let findings = Findings { known, ..Findings::default() };
        Self {
            expected_name,
            algorithms,
            service: None,
            findings: Arc::new(Mutex::new(findings)),
            fault: Mutex::default(),
        }
    }

    /// The verifier of another service of the same printer.
    pub(super) fn of_service(&self, service: &'static str) -> Self {
        Self {
            expected_name: self.expected_name.clone(),
            algorithms: self.algorithms,
            service: Some(service),
            findings: self.findings.clone(),
            fault: Mutex::default(),
        }
    }

    /// The next keys that prove themselves become the known ones.
    pub(super) fn forget(&self) {
        *self.findings() = Findings::default();
    }

    pub(super) fn observed(&self) -> Option<Pin> {
        self.findings().observed.main
    }

    pub(super) fn keys(&self) -> KnownKeys {
        self.findings().keys()
    }

    pub(super) fn fault(&self) -> Option<TlsFault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_fault(&self, fault: Option<TlsFault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_us(&self, leaf: &Leaf<'_>) -> bool {
        self.expected_name.as_ref().is_none_or(|expected| *expected == leaf.common_name)
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
        self.set_fault(Some(fault));
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
        match self.findings().expected(self.service, leaf.pin, self.names_us(&leaf)) {
            Some(expected) if expected != leaf.pin => Err(TlsFault::ChangedPin { expected, found: leaf.pin }),
            _ => Ok(()),
        }
    }

    /// Remembers the key only now that the server has proved that it holds it; of two first
    /// handshakes at once the earlier binds the later.
    fn record(&self, leaf: &Leaf<'_>) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (pin, named) = (leaf.pin, self.names_us(leaf));
        let expected = {
            let mut findings = self.findings();
            let expected = findings.expected(self.service, pin, named).unwrap_or(pin);
            if expected == pin {
                findings.record(self.service, pin, named);
            }
            expected
        };
        if expected != pin {
            return Err(self.refuse(TlsFault::ChangedPin { expected, found: pin }));
        }
        self.set_fault(None);
        Ok(HandshakeSignatureValid::assertion())
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
        self.record(&leaf)
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
        self.record(&leaf)
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
