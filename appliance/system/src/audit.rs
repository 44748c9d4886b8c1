//! The broker's audit: one JSON line per event, each with the hash of the line before it.
