//! Whether a request is Twilio's. The signature is the only thing that tells a webhook from a stranger's POST,
//! so the rule is the official SDKs', held by their own vectors (contract section 2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What is signed besides the URL.
#[derive(Clone, Copy, Debug)]
pub enum SignedBody<'a> {
    /// A POST form: every decoded pair, in any order, repeated and empty ones included.
    Form(&'a [(String, String)]),
    /// Any other body: its SHA-256 stands in the URL as `bodySHA256`.
    Raw(&'a [u8]),
    /// A GET: everything is in the URL.
    None,
}

/// Whether `signature`, the value of `X-Twilio-Signature`, was made with `token` over this request.
///
/// `url` is the public one ([`public_url`]) with its query as received: it is compared byte for byte, except
/// that its scheme is lower-cased. Twilio signs some requests with the port and some without, so the URL counts
/// as given, without its port, and, if it has none, with the scheme's default (contract section 2). Takes the
/// same time whichever of them matches, if any. Never fails: whatever is malformed is not Twilio's.
pub fn verify(token: &SecretString, url: &str, body: SignedBody<'_>, signature: &str) -> bool {
    let (pairs, body_is_signed) = match body {
        SignedBody::Form(pairs) => (pairs, Choice::from(1)),
        SignedBody::Raw(bytes) => (&[][..], has_digest(url, bytes)),
        SignedBody::None => (&[][..], Choice::from(1)),
    };
    let pairs = sorted(pairs);
    let matches = candidates(url).iter().fold(Choice::from(0), |matches, candidate| {
        matches | mac(token, candidate, &pairs).as_bytes().ct_eq(signature.as_bytes())
    });
    (matches & body_is_signed).into()
}

/// The signature that Twilio sends with a form POST of `params` to `url`, or, with no `params`, with a GET. The
/// simulator's half of [`verify`].
pub fn sign(token: &SecretString, url: &str, params: &[(String, String)]) -> String {
    let url = Parts::of(url).map_or_else(|| url.to_owned(), |parts| parts.with_authority(parts.authority));
    mac(token, &url, &sorted(params))
}

/// The URL that Twilio asked for: the configured base, without userinfo, query and fragment, none of which
/// Twilio signs, and then the path and query exactly as received. Neither `Host` nor `X-Forwarded-*` has a say:
/// a stranger can send those. A path in the base is a prefix that a proxy has removed.
pub fn public_url(base: &str, path_and_query: &str) -> String {
    let base = base.split(['#', '?']).next().unwrap_or(base).trim_end_matches('/');
    let Some(parts) = Parts::of(base) else { return format!("{base}{path_and_query}") };
    let host = parts.authority.rsplit_once('@').map_or(parts.authority, |(_, host)| host);
    format!("{}{path_and_query}", parts.with_authority(host))
}

/// A URL cut at its authority; nothing is decoded or normalised.
struct Parts<'a> {
    scheme: String,
    authority: &'a str,
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, after) = url.split_once("://")?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        Some(Self { scheme: scheme.to_ascii_lowercase(), authority, rest })
    }

    fn with_authority(&self, authority: &str) -> String {
        format!("{}://{authority}{}", self.scheme, self.rest)
    }

    /// The authority without its port, if it has one. A colon inside userinfo or an IPv6 literal begins no port.
    fn without_port(&self) -> Option<&'a str> {
        let (before, after) = self.authority.rsplit_once(':')?;
        (!after.contains(['@', ']'])).then_some(before)
    }

    /// The SDKs take 80 for every scheme but https; Twilio's page on WebSockets means 443 by wss.
    fn default_ports(&self) -> &'static [u16] {
        match self.scheme.as_str() {
            "https" => &[443],
            "wss" => &[80, 443],
            _ => &[80],
        }
    }
}

fn candidates(url: &str) -> Vec<String> {
    let Some(parts) = Parts::of(url) else { return vec![url.to_owned()] };
    let mut candidates = vec![parts.with_authority(parts.authority)];
    match parts.without_port() {
        Some(authority) => candidates.push(parts.with_authority(authority)),
        None => candidates.extend(
            parts
                .default_ports()
                .iter()
                .map(|port| parts.with_authority(&format!("{}:{port}", parts.authority))),
        ),
    }
    candidates
}

/// The pairs as they are signed: names in byte order, of each its distinct values in byte order.
fn sorted(pairs: &[(String, String)]) -> Vec<&(String, String)> {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

fn mac(token: &SecretString, url: &str, pairs: &[&(String, String)]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.expose_secret().as_bytes())
        .expect("HMAC accepts a key of any length");
    mac.update(url.as_bytes());
    for (name, value) in pairs {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// Whether the URL's first `bodySHA256` is the digest of `body`: exactly that name, in lower-case hexadecimal.
fn has_digest(url: &str, body: &[u8]) -> Choice {
    let url = url.split('#').next().unwrap_or(url);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let stated = query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256="));
    format!("{:x}", Sha256::digest(body)).as_bytes().ct_eq(stated.unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
        decided: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        id: String,
        auth_token: String,
        url: String,
        params: Option<Vec<(String, String)>>,
        body: Option<String>,
        signature: String,
        valid: bool,
    }

    impl Case {
        fn token(&self) -> SecretString {
            SecretString::from(self.auth_token.clone())
        }

        fn verdict(&self) -> bool {
            let body = match (&self.params, &self.body) {
                (Some(params), _) => SignedBody::Form(params),
                (None, Some(body)) => SignedBody::Raw(body.as_bytes()),
                (None, None) => SignedBody::None,
            };
            verify(&self.token(), &self.url, body, &self.signature)
        }
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../tests/data/signature_vectors.json")).unwrap()
    }

    fn token() -> SecretString {
        SecretString::from("0123456789abcdef0123456789abcdef")
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_case_on_which_the_sdks_agree_has_their_verdict() {
        let vectors = vectors();
        assert_eq!(vectors.cases.len(), 116);
        assert_eq!(vectors.cases.iter().filter(|case| case.valid).count(), 75);
        let wrong: Vec<&str> =
            vectors.cases.iter().filter(|case| case.verdict() != case.valid).map(|case| &*case.id).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn where_the_sdks_differ_exact_bytes_are_accepted_and_rewritten_ones_are_not() {
        let vectors = vectors();
        let accepted: Vec<&str> =
            vectors.decided.iter().filter(|case| case.verdict()).map(|case| &*case.id).collect();
        assert_eq!(
            accepted,
            ["url/bare-question-mark", "port/ipv6-stripped", "auth/user-pass-port-stripped"]
        );
        assert!(vectors.decided.iter().all(|case| case.verdict() == case.valid));
        assert_eq!(vectors.decided.len(), 15);
    }

    #[test]
    fn a_get_signs_the_url_alone() {
        let url = "https://hooks.example.com/twilio/voice?CallSid=CA1&From=%2B15555550100";
        let signature = sign(&token(), url, &[]);
        assert!(verify(&token(), url, SignedBody::None, &signature));
        let form = pairs(&[("CallSid", "CA1")]);
        assert!(!verify(&token(), url, SignedBody::Form(&form), &signature));
    }

    #[test]
    fn the_case_of_the_scheme_does_not_matter_and_that_of_the_host_does() {
        let signature = sign(&token(), "https://hooks.example.com/t", &[]);
        assert!(verify(&token(), "HTTPS://hooks.example.com/t", SignedBody::None, &signature));
        assert!(!verify(&token(), "https://Hooks.example.com/t", SignedBody::None, &signature));
    }

    #[test]
    fn a_web_socket_may_be_signed_with_either_default_port() {
        for signed in
            ["wss://media.example.com/s", "wss://media.example.com:80/s", "wss://media.example.com:443/s"]
        {
            let signature = sign(&token(), signed, &[]);
            assert!(verify(&token(), "wss://media.example.com/s", SignedBody::None, &signature), "{signed}");
        }
    }

    #[test]
    fn a_raw_body_must_have_its_digest_in_the_query() {
        let digest = format!("{:x}", Sha256::digest(b"{}"));
        for (url, expected) in [
            (format!("https://x.example/e?bodySHA256={digest}"), true),
            (format!("https://x.example/e?a=1&bodySHA256={digest}#f"), true),
            (format!("https://x.example/e?bodySHA256={}", digest.to_uppercase()), false),
            (format!("https://x.example/e?bodysha256={digest}"), false),
            (format!("https://x.example/e#?bodySHA256={digest}"), false),
            (format!("https://x.example/e?a=bodySHA256={digest}"), false),
            ("https://x.example/e?bodySHA256=".to_owned(), false),
            ("https://x.example/e".to_owned(), false),
        ] {
            let signature = sign(&token(), &url, &[]);
            assert_eq!(verify(&token(), &url, SignedBody::Raw(b"{}"), &signature), expected, "{url}");
        }
    }

    #[test]
    fn the_public_url_is_the_configured_base_and_the_path_as_received() {
        for (base, expected) in [
            ("https://hooks.example.com", "https://hooks.example.com/t?q=a%2fb"),
            ("https://hooks.example.com/", "https://hooks.example.com/t?q=a%2fb"),
            ("HTTPS://hooks.example.com:8443", "https://hooks.example.com:8443/t?q=a%2fb"),
            ("https://alice:p%40ss@hooks.example.com", "https://hooks.example.com/t?q=a%2fb"),
            ("https://a@b@hooks.example.com/p@th/", "https://hooks.example.com/p@th/t?q=a%2fb"),
            ("https://hooks.example.com#rc=2&rp=all", "https://hooks.example.com/t?q=a%2fb"),
            ("https://hooks.example.com/prefix/?x=1#f", "https://hooks.example.com/prefix/t?q=a%2fb"),
            ("http://[2001:db8::1]:3000", "http://[2001:db8::1]:3000/t?q=a%2fb"),
            ("hooks.example.com", "hooks.example.com/t?q=a%2fb"),
        ] {
            assert_eq!(public_url(base, "/t?q=a%2fb"), expected, "{base}");
        }
    }

    #[test]
    fn what_twilio_signs_for_a_base_with_credentials_verifies_through_the_public_url() {
        let signature = sign(&token(), "https://hooks.example.com/t", &[]);
        let url = public_url("https://alice:s3cret@hooks.example.com#rc=2", "/t");
        assert!(verify(&token(), &url, SignedBody::None, &signature));
    }

    proptest! {
        #[test]
        fn nothing_panics(
            secret in any::<String>(), url in any::<String>(), signature in any::<String>(), body in any::<Vec<u8>>(),
            base in "[a-z]{0,5}(://)?[\\[\\]:@/?#a-z0-9é]{0,30}",
        ) {
            let secret = SecretString::from(secret);
            for url in [url.as_str(), base.as_str(), &public_url(&base, &url)] {
                prop_assert!(!verify(&secret, url, SignedBody::None, &signature));
                prop_assert!(!verify(&secret, url, SignedBody::Raw(&body), &signature));
            }
        }

        #[test]
        fn what_is_signed_verifies_in_any_order_and_nothing_else_does(
            mut params in proptest::collection::vec(("[a-zA-Z]{1,8}", any::<String>()), 0..8),
            base in "(https?|wss)://[a-z]{1,8}(:[0-9]{2,4})?", path in "/[a-z0-9%/?=&]{0,20}",
        ) {
            let url = public_url(&base, &path);
            let signature = sign(&token(), &url, &params);
            params.reverse();
            prop_assert!(verify(&token(), &url, SignedBody::Form(&params), &signature));
            prop_assert!(!verify(&SecretString::from("another"), &url, SignedBody::Form(&params), &signature));
            params.push(("Extra".to_owned(), "1".to_owned()));
            prop_assert!(!verify(&token(), &url, SignedBody::Form(&params), &signature));
        }
    }
}
