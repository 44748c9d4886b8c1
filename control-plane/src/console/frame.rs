//! Around every answer of the console: headers that keep a browser from running or leaking anything that is not ours, error pages
//! for people, and the way back to where they wanted to go when they must sign in first.

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::{assets, page, url};

/// What a page may load: only its own origin's files, no inline script or style, no frame, no other target of a form. HTML enters
/// the document only through the policy `postern` of `html.js` (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types postern";

/// Longest text of a fault that is shown.
const MAX_DETAIL_BYTES: usize = 4096;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    assets: String,
    status: StatusCode,
    title: &'a str,
    advice: &'a str,
    detail: &'a str,
}

/// The middleware.
pub(super) async fn around(request: Request, next: Next) -> Response {
    let wants_page = wants_page(request.headers());
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut response = next.run(request).await;
    if leads_to_sign_in(&response) {
        response = match (wants_page, safe) {
            (true, true) => Redirect::to(&url::sign_in(&path)).into_response(),
            (true, false) => response,
            (false, _) => (StatusCode::UNAUTHORIZED, "nobody is signed in").into_response(),
        };
    }
    if wants_page && is_bare_fault(&response) {
        response = with_page(response).await;
    }
    protect(response.headers_mut());
    response
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn leads_to_sign_in(response: &Response) -> bool {
    response.status() == StatusCode::SEE_OTHER && response.headers().get(header::LOCATION).is_some_and(|to| to == "/sign-in")
}

fn is_bare_fault(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let fault = response.status().is_client_error() || response.status().is_server_error();
    fault && kind.is_none_or(|kind| kind.starts_with("text/plain"))
}

async fn with_page(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
    let detail = String::from_utf8_lossy(&text);
    let (title, advice) = match parts.status {
        StatusCode::FORBIDDEN => ("Not allowed", "You are signed in, but this is not for your role, or the page was too old."),
        StatusCode::NOT_FOUND => ("Not found", "There is nothing under this address, or it belongs to somebody else."),
        StatusCode::METHOD_NOT_ALLOWED => ("Not here", "This address only takes a form. Open the page that has it."),
        StatusCode::PAYLOAD_TOO_LARGE => ("Too large", "What was sent is larger than the console takes."),
        StatusCode::CONFLICT => ("Not possible now", "Somebody or something was faster. Open the page again to see how it is now."),
        status if status.is_server_error() => {
            ("Something failed here", "It is our fault, not yours. Give this id to your administrator; the log has the details under it.")
        }
        _ => ("That did not work", "The server could not do what was asked."),
    };
    let detail = if parts.status == StatusCode::NOT_FOUND { "" } else { &*detail };
    let fault = ErrorPage { assets: assets::base(), status: parts.status, title, advice, detail };
    let mut page = page::html(parts.status, &fault);
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        page.headers_mut().insert(header::ALLOW, allow.clone());
    }
    page
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What a tenant's pages show stays out of every cache; assets say otherwise themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// For answers that have no body of their own.
pub(super) fn nothing() -> Response {
    (StatusCode::NO_CONTENT, Body::empty()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_nothing_inline() {
        assert!(POLICY.contains("default-src 'none'") && !POLICY.contains("unsafe") && !POLICY.contains("data:"));
        assert!(!POLICY.contains("  "), "the line break may not leave blanks");
    }
}
