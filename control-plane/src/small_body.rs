//! Takes in a request's body before its handler runs, when it is small.
//!
//! A handler that refuses early (no token, no such route) leaves the body unread. Over HTTP/2 the stream is then reset behind the
//! answer (RFC 9113 §8.1), and a client that is still sending, such as curl 7.88, reports the reset and not the answer. A body
//! that is longer, or does not say how long it is, passes as it comes. All of them have to end in time.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

/// Most bytes of a small body.
const MAX_BYTES: usize = 64 * 1024;

/// How long a small body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long any other body may take. A peer that stops in the middle would otherwise keep its connection and what it has sent.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// Runs the handler once a small body is there.
pub async fn take_in(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let is_small = body.size_hint().upper().is_some_and(|bytes| bytes <= MAX_BYTES as u64);
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if !is_small {
        return next.run(Request::from_parts(parts, ends_within(body, LONG_PATIENCE))).await;
    }
    match tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, MAX_BYTES)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => StatusCode::BAD_REQUEST.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Passes a body on, with an error in place of what comes too late.
fn ends_within(body: Body, patience: Duration) -> Body {
    let deadline = Instant::now() + patience;
    Body::from_stream(stream::try_unfold(body.into_data_stream(), move |mut chunks| async move {
        match tokio::time::timeout_at(deadline, chunks.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(chunk)) => Ok(Some((chunk?, chunks))),
            Err(late) => Err(axum::Error::new(late)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::post;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn bodies_of_every_size_reach_the_handler_whole() {
        let echo = async |body: axum::body::Bytes| body.len().to_string();
        let router = Router::new().route("/", post(echo)).layer(axum::middleware::from_fn(take_in));
        for length in [0, 1, MAX_BYTES, MAX_BYTES + 1] {
            let request = Request::post("/").body(Body::from(vec![b'x'; length])).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let answer = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(answer, length.to_string());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let router = Router::new().route("/", post(async |_: axum::body::Bytes| ())).layer(axum::middleware::from_fn(take_in));
        // Chunked: nothing says how long it will be.
        let endless = Body::from_stream(stream::once(async { Ok::<_, axum::Error>("x") }).chain(stream::pending()));
        let answer = router.oneshot(Request::post("/").body(endless).unwrap());
        let answer = tokio::time::timeout(Duration::from_secs(300), answer).await.expect("an answer in time").unwrap();
        assert!(answer.status().is_client_error());
    }
}
