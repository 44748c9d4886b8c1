//! The privileged side: takes verbs from its socket, decides who may, and acts.
