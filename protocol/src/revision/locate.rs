//! Finds the line of a path.
