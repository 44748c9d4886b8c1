//! The tunnel's server side: HTTP/2 inside mutual TLS, one control stream and one stream for each lane.

pub mod registry;
