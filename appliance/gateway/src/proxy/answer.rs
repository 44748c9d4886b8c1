//! Answers of the proxy listener as bytes: JSON for pushes, text for everything else, RFC 9457 problems for refused pushes.

use postern_engine::ledger::DropReason;

/// One answer, and how the ledger counts what it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// What the ledger counts a refused push as.
    pub(crate) counted: Option<DropReason>,
    headers: String,
    body: String,
}

/// What follows on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The connection ends.
    Close,
    /// Another request may follow.
    KeepAlive,
}

impl Answer {
    /// Answers a push whose events are durable.
    pub(crate) fn accepted(events: u32) -> Self {
        let body = format!("{{\"accepted\":{events}}}");
        Self { status: 200, counted: None, headers: "Content-Type: application/json\r\n".to_owned(), body }
    }

    /// Refuses a push: a problem document (RFC 9457).
    pub(crate) fn problem(status: u16, detail: &str, counted: Option<DropReason>) -> Self {
        let problem = serde_json::json!({ "type": "about:blank", "title": title(status), "status": status, "detail": detail });
        let mut headers = "Content-Type: application/problem+json\r\n".to_owned();
        match status {
            401 => headers.push_str("WWW-Authenticate: Postern-Signature, Bearer\r\n"),
            405 => headers.push_str("Allow: POST\r\n"),
            503 => headers.push_str("Retry-After: 1\r\n"),
            _ => {}
        }
        Self { status, counted, headers, body: problem.to_string() }
    }

    /// Refuses anything else: a line of text, and `Proxy-Status` (RFC 9209) with the `error` that fits.
    pub(crate) fn text(status: u16, reason: &str, error: &str) -> Self {
        let mut headers = format!("Content-Type: text/plain; charset=utf-8\r\nProxy-Status: postern; error={error}\r\n");
        match status {
            // RFC 7617 §2.1: the client may take the credential for UTF-8.
            407 => headers.push_str("Proxy-Authenticate: Basic realm=\"postern\", charset=\"UTF-8\"\r\n"),
            429 => headers.push_str("Retry-After: 6\r\n"),
            _ => {}
        }
        Self { status, counted: None, headers, body: format!("{reason}\n") }
    }

    /// Returns the whole answer.
    pub(crate) fn bytes(&self, after: After) -> Vec<u8> {
        let connection = match after {
            After::Close => "close",
            After::KeepAlive => "keep-alive",
        };
        let Self { status, headers, body, .. } = self;
        format!("HTTP/1.1 {status} {}\r\n{headers}Content-Length: {}\r\nConnection: {connection}\r\n\r\n{body}", title(*status), body.len())
            .into_bytes()
    }
}

const fn title(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json_with_its_reason() {
        let answer = String::from_utf8(Answer::problem(400, "events[0].kind: \"missing\"", None).bytes(After::Close)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((problem["status"].as_u64(), problem["detail"].as_str()), (Some(400), Some("events[0].kind: \"missing\"")));
    }
}
