//! Texts with placeholders.
