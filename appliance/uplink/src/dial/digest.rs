//! HTTP Digest authentication (RFC 7616), as far as proxies ask for it: MD5 and SHA-256, with and without `-sess`, qop `auth`
//! or none.
//!
//! Pure: the client's nonce is passed in. Called by `proxy`.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::challenge::Challenge;
use crate::url::Credentials;

/// Hash algorithms; the stronger is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
}

impl Hash {
    fn hex(self, text: &str) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Md5 => HEXLOWER.encode(&Md5::digest(text.as_bytes())),
            Self::Sha256 => HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
        })
    }
}

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DigestChallenge<'a> {
    realm: &'a str,
    nonce: &'a str,
    opaque: Option<&'a str>,
    /// As the proxy spells it; echoed.
    algorithm: Option<&'a str>,
    hash: Hash,
    is_session: bool,
    has_qop: bool,
    hashes_user: bool,
    /// The nonce of the answer before was too old, and nothing else was wrong (RFC 7616 §3.3).
    pub(super) is_stale: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// `CONNECT`.
    pub(super) method: &'a str,
    /// The request's target.
    pub(super) uri: &'a str,
}

impl<'a> DigestChallenge<'a> {
    /// Reads a challenge; `None` when it is of another scheme, or wants what is not spoken here.
    pub(super) fn read(challenge: &'a Challenge) -> Option<Self> {
        if !challenge.is("digest") {
            return None;
        }
        let algorithm = challenge.parameter("algorithm");
        let name = algorithm.unwrap_or("MD5").to_ascii_lowercase();
        let (hash, is_session) = match name.as_str() {
            "md5" => (Hash::Md5, false),
            "md5-sess" => (Hash::Md5, true),
            "sha-256" => (Hash::Sha256, false),
            "sha-256-sess" => (Hash::Sha256, true),
            _ => return None,
        };
        let qop = challenge.parameter("qop");
        // A list of tokens; without one it is as in RFC 2069.
        let has_auth = |list: &str| list.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth"));
        if qop.is_some_and(|list| !has_auth(list)) {
            return None;
        }
        let is_true = |name| challenge.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Some(Self {
            realm: challenge.parameter("realm")?,
            nonce: challenge.parameter("nonce")?,
            opaque: challenge.parameter("opaque"),
            algorithm,
            hash,
            is_session,
            has_qop: qop.is_some(),
            hashes_user: is_true("userhash"),
            is_stale: is_true("stale"),
        })
    }

    /// Returns the challenge with the strongest hash.
    pub(super) fn strongest(challenges: &'a [Challenge]) -> Option<Self> {
        challenges.iter().filter_map(Self::read).reduce(|best, next| if next.hash > best.hash { next } else { best })
    }

    /// Returns the value of `Proxy-Authorization` (RFC 7616 §3.4).
    pub(super) fn answer(&self, credentials: &Credentials, asked: Asked<'_>, client_nonce: &str) -> Zeroizing<String> {
        const COUNT: &str = "00000001";
        let Self { realm, nonce, .. } = *self;
        let user = credentials.user.as_str();
        let secret = Zeroizing::new(format!("{user}:{realm}:{}", credentials.password.as_str()));
        let mut first = self.hash.hex(&secret);
        if self.is_session {
            let session = Zeroizing::new(format!("{}:{nonce}:{client_nonce}", first.as_str()));
            first = self.hash.hex(&session);
        }
        let second = self.hash.hex(&format!("{}:{}", asked.method, asked.uri));
        let middle = if self.has_qop { format!("{nonce}:{COUNT}:{client_nonce}:auth") } else { nonce.to_owned() };
        let response = self.hash.hex(&Zeroizing::new(format!("{}:{middle}:{}", first.as_str(), second.as_str())));

        let name = if self.hashes_user { self.hash.hex(&format!("{user}:{realm}")) } else { Zeroizing::new(user.to_owned()) };
        let mut answer = Zeroizing::new(format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\"",
            quoted(&name),
            quoted(realm),
            quoted(nonce),
            quoted(asked.uri),
            response.as_str(),
        ));
        if let Some(algorithm) = self.algorithm {
            answer.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = self.opaque {
            answer.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        if self.has_qop {
            answer.push_str(&format!(", qop=auth, nc={COUNT}"));
        }
        if self.has_qop || self.is_session {
            answer.push_str(&format!(", cnonce={}", quoted(client_nonce)));
        }
        if self.hashes_user {
            answer.push_str(", userhash=true");
        }
        answer
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::challenge::parse;
    use super::*;

    const MUFASA: &str = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5,
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

    fn answer(field: &str) -> String {
        let challenges = parse(&field.replace('\n', " "));
        let credentials = Credentials::new("Mufasa".to_owned(), Zeroizing::new("Circle of Life".to_owned())).unwrap();
        let asked = Asked { method: "GET", uri: "/dir/index.html" };
        let challenge = DigestChallenge::strongest(&challenges).unwrap();
        challenge.answer(&credentials, asked, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ").to_string()
    }

    #[test]
    fn the_examples_of_rfc_7616_are_answered_as_there() {
        let md5 = answer(MUFASA);
        assert!(md5.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{md5}");
        assert!(md5.contains("qop=auth, nc=00000001") && md5.contains("opaque=\"FQhe/"), "{md5}");
        let sha256 = answer(&MUFASA.replace("MD5", "SHA-256"));
        assert!(sha256.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""), "{sha256}");
    }

    #[test]
    fn the_stronger_of_two_challenges_is_answered_and_what_is_not_spoken_is_left() {
        let both = format!("{MUFASA}, {}", MUFASA.replace("MD5", "SHA-256"));
        assert!(answer(&both).contains("algorithm=SHA-256"));
        for field in [
            r#"Digest realm="x", nonce="y", algorithm=SHA-512-256"#,
            r#"Digest realm="x", nonce="y", qop="auth-int""#,
            r#"Digest realm="x""#,
            r#"Basic realm="x""#,
        ] {
            assert_eq!(DigestChallenge::strongest(&parse(field)), None, "{field}");
        }
    }

    #[test]
    fn a_challenge_without_qop_gets_the_short_answer_and_quotes_are_escaped() {
        let short = answer(r#"Digest realm="a \"b\"", nonce="n", userhash=true"#);
        assert!(!short.contains("qop") && !short.contains("cnonce") && !short.contains("Mufasa"), "{short}");
        assert!(short.contains(r#"realm="a \"b\"""#), "{short}");
    }
}
