//! Why a revision was taken back, in words for the admin.

use std::fmt;

/// Why a revision was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Taking it back had begun before the program ended.
    Begun,
    /// The program died again and again with it.
    Crashes {
        /// Starts after unclean stops.
        starts: u32,
    },
    /// The control plane was reached, and did not confirm it.
    NotConfirmed {
        /// How long it had, seconds.
        within_s: u32,
    },
    /// The control plane could not be reached.
    NotReached {
        /// How long it had, seconds.
        within_s: u32,
    },
    /// With it in force the gateway did not work as it should.
    SelfTest {
        /// What failed.
        check: Check,
    },
    /// It cannot be used any more.
    Unusable,
    /// The program was not running, or just starting, when its time ended.
    WhileDown {
        /// How long it had, seconds.
        within_s: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun => out.write_str("it was being taken back when the gateway stopped"),
            Self::Crashes { starts } => {
                write!(out, "the gateway stopped uncleanly and was started again {starts} times while the revision was on trial")
            }
            Self::NotConfirmed { within_s } => {
                write!(out, "the control plane was reached but did not confirm the revision within {within_s} s")
            }
            Self::NotReached { within_s } => {
                write!(out, "the control plane was not reached within {within_s} s with this revision in force: check its uplink section")
            }
            Self::SelfTest { check } => write!(out, "the self-test right after the swap failed: {check}"),
            Self::Unusable => out.write_str("it could not be used any more when the gateway started again"),
            Self::WhileDown { within_s } => {
                write!(out, "the revision's {within_s} s to be confirmed ended while the gateway was not running")
            }
        }
    }
}

/// A part of the self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A message of the gateway's own through the listener of this name.
    Listener(&'static str),
    /// Specimens of a trap and of a syslog line through decoders and rules.
    Rules,
    /// A commit to the spool.
    Spool,
}

impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name) => {
                write!(out, "a message of the gateway's own did not come through the listener {name}, which had worked before; see its log")
            }
            Self::Rules => out.write_str("the rules did not decide about a trap and a syslog line of the gateway's own in time"),
            Self::Spool => out.write_str("the spool did not take a commit in time: look at the disk with postern-gateway doctor"),
        }
    }
}
