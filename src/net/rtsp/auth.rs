//! Digest authentication (RFC 2617, 7616) and basic over TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::secret::Secret;

/// What the server asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Challenge {
    Digest(DigestChallenge),
    Basic,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DigestChallenge {
    realm: String,
    pub nonce: String,
    opaque: Option<String>,
    qop: bool,
    sha256: bool,
    algorithm: Option<String>,
}

impl Challenge {
    /// The best of the `WWW-Authenticate` headers that we can answer.
    pub fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        headers.filter_map(Self::parse).max_by_key(|challenge| match challenge {
            Challenge::Digest(digest) if digest.sha256 => 2,
            Challenge::Digest(_) => 1,
            Challenge::Basic => 0,
        })
    }

    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut challenge = DigestChallenge::default();
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value,
                "nonce" => challenge.nonce = value,
                "opaque" => challenge.opaque = Some(value),
                "qop" => challenge.qop = value.split(',').any(|qop| qop.trim() == "auth"),
                "algorithm" => {
                    challenge.sha256 = value.eq_ignore_ascii_case("sha-256");
                    if !challenge.sha256 && !value.eq_ignore_ascii_case("md5") {
                        return None;
                    }
                    challenge.algorithm = Some(value);
                }
                _ => {}
            }
        }
        (!challenge.nonce.is_empty()).then_some(Challenge::Digest(challenge))
    }

    /// The `Authorization` header; `cnonce` and `count` are used where the server wants them.
    pub fn answer(
        &self,
        login: &(String, Secret),
        method: &str,
        uri: &str,
        cnonce: &str,
        count: u32,
    ) -> String {
        let (user, password) = (&login.0, login.1.expose());
        match self {
            Challenge::Basic => format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            Challenge::Digest(digest) => digest.answer(user, password, method, uri, cnonce, count),
        }
    }
}

impl DigestChallenge {
    fn answer(
        &self,
        user: &str,
        password: &str,
        method: &str,
        uri: &str,
        cnonce: &str,
        count: u32,
    ) -> String {
        let secret = self.hash(&format!("{user}:{}:{password}", self.realm));
        let request = self.hash(&format!("{method}:{uri}"));
        let (realm, nonce) = (&self.realm, &self.nonce);
        let mut header =
            format!(r#"Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}""#);
        let response = if self.qop {
            header.push_str(&format!(r#", qop=auth, nc={count:08x}, cnonce="{cnonce}""#));
            self.hash(&format!("{secret}:{nonce}:{count:08x}:{cnonce}:auth:{request}"))
        } else {
            self.hash(&format!("{secret}:{nonce}:{request}"))
        };
        header.push_str(&format!(r#", response="{response}""#));
        if let Some(algorithm) = &self.algorithm {
            header.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = &self.opaque {
            header.push_str(&format!(r#", opaque="{opaque}""#));
        }
        header
    }

    fn hash(&self, text: &str) -> String {
        if self.sha256 {
            HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
        } else {
            HEXLOWER.encode(&Md5::digest(text.as_bytes()))
        }
    }
}

/// `key=value, key="quoted, value"`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',', '\t']).to_owned();
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key, value.trim().to_owned()));
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> (String, Secret) {
        (user.to_owned(), Secret::new(password))
    }

    /// The example of RFC 2617 section 3.5.
    #[test]
    fn the_example_of_rfc_2617() {
        let header = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let challenge = Challenge::best([header].into_iter()).unwrap();
        let answer =
            challenge.answer(&login("Mufasa", "Circle Of Life"), "GET", "/dir/index.html", "0a4f113b", 1);
        assert!(answer.contains(r#"response="6629fae49393a05397450978507c4ef1""#), "{answer}");
        assert!(answer.contains("nc=00000001") && answer.contains(r#"opaque="5ccc069c"#));
    }

    /// The SHA-256 example of RFC 7616 section 3.9.1.
    #[test]
    fn the_example_of_rfc_7616() {
        let md5 = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let sha = md5.replace("MD5", "SHA-256");
        let challenge = Challenge::best([md5, "Basic realm=x", &sha].into_iter()).unwrap();
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let answer =
            challenge.answer(&login("Mufasa", "Circle of Life"), "GET", "/dir/index.html", cnonce, 1);
        let expected = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(answer.contains(expected), "{answer}");
    }

    #[test]
    fn without_qop_and_with_basic() {
        let digest = Challenge::best([r#"Digest realm="r", nonce="n""#].into_iter()).unwrap();
        let answer = digest.answer(&login("u", "p"), "DESCRIBE", "rtsp://x/", "c", 9);
        let secret = HEXLOWER.encode(&Md5::digest(b"u:r:p"));
        let request = HEXLOWER.encode(&Md5::digest(b"DESCRIBE:rtsp://x/"));
        let response = HEXLOWER.encode(&Md5::digest(format!("{secret}:n:{request}").as_bytes()));
        assert!(answer.contains(&format!("response=\"{response}\"")) && !answer.contains("qop"));
        let basic = Challenge::best([r#"Basic realm="r""#].into_iter()).unwrap();
        assert_eq!(basic.answer(&login("u", "p"), "X", "y", "c", 1), "Basic dTpw");
        assert_eq!(Challenge::best(["Negotiate", r#"Digest nonce="n", algorithm=MD4"#].into_iter()), None);
    }
}
