//! The shapes of the API's requests and answers, as `openapi.json` describes them. Never built: tests hold them against what the
//! handlers write. Kept apart so that the stores know nothing of OpenAPI.

pub mod alerts;
pub mod audit;
pub mod enrolment;
pub mod explain;
pub mod gateways;
pub mod identity;
pub mod intake;
pub mod mibs;
pub mod oauth;
pub mod parameters;
pub mod problems;
pub mod replays;
pub mod rollouts;
pub mod samples;
pub mod secrets;
