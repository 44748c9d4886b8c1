//! Whether a browser sent a request from one of our own pages. Pure: header texts in, a decision out.
//!
//! Every current browser says where a POST comes from: `Sec-Fetch-Site` (Fetch Metadata), before that `Origin` (RFC 6454 §7).
//! A request with neither comes from no browser, so that nobody's cookie was added to it against their will.

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

/// A form was sent from another site's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form was sent from another site's page; open the page here and try again")]
pub(crate) struct CrossSite;

/// Checks that a request that changes something was not made by another site's page.
///
/// # Errors
/// [`CrossSite`] if it was.
pub(crate) fn check(parts: &Parts) -> Result<(), CrossSite> {
    let text = |name| header_text(&parts.headers, name);
    if let Some(site) = text("sec-fetch-site") {
        // `none`: typed, bookmarked or reloaded by the person. `same-site` is another host of the domain: not ours.
        return if matches!(site, "same-origin" | "none") { Ok(()) } else { Err(CrossSite) };
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return if parts.headers.contains_key(header::ORIGIN) { Err(CrossSite) } else { Ok(()) };
    };
    // HTTP/2 has the host in `:authority`, which hyper puts into the URI.
    let host = parts.uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST.as_str()));
    let same = origin.strip_prefix("https://").zip(host).is_some_and(|(origin, host)| {
        let bare = |text: &str| text.strip_suffix(":443").unwrap_or(text).to_ascii_lowercase();
        bare(origin) == bare(host)
    });
    if same { Ok(()) } else { Err(CrossSite) }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn decide(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::post("/sign-in").header("host", "postern.example:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn only_our_own_pages_and_programs_pass() {
        assert!(decide(&[]));
        assert!(decide(&[("sec-fetch-site", "same-origin")]));
        assert!(decide(&[("origin", "https://postern.example:8443")]));
        for foreign in ["https://postern.example", "http://postern.example:8443", "https://evil.example:8443", "null", ""] {
            assert!(!decide(&[("origin", foreign)]), "{foreign}");
        }
        for site in ["cross-site", "same-site", "odd"] {
            assert!(!decide(&[("sec-fetch-site", site), ("origin", "https://postern.example:8443")]), "{site}");
        }
    }

    #[test]
    fn the_authority_of_http_2_counts_as_the_host() {
        let request = Request::post("https://[::1]:8443/sign-in").header("origin", "https://[::1]:8443");
        assert_eq!(check(&request.body(()).unwrap().into_parts().0), Ok(()));
    }
}
