//! Every file and program that the privileged side touches, below one root: `/` on an appliance, a directory in tests.

use std::path::{Path, PathBuf};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Uses everything below `root`.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Returns the path of `absolute` below the root.
    pub(crate) fn at(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// Directory of what the site set; root's.
    pub(crate) fn state(&self) -> PathBuf {
        self.at("/var/lib/postern-system")
    }

    /// Directory of host keys and `authorized_keys`.
    pub(crate) fn ssh(&self) -> PathBuf {
        self.at("/var/lib/postern-system/ssh")
    }

    /// Directory of what the broker renders and tells.
    pub(crate) fn run(&self) -> PathBuf {
        self.at("/run/postern")
    }

    /// The gateway's identity: there once it is enrolled. The directory above is the gateway's own.
    pub(crate) fn identity(&self) -> PathBuf {
        self.at("/var/lib/postern/identity/gateway.json")
    }

    /// Where the gateway's daemon tells how it is.
    pub(crate) fn gateway_socket(&self) -> PathBuf {
        self.at("/var/lib/postern/gateway.sock")
    }

    /// Directory of the audit.
    pub(crate) fn log(&self) -> PathBuf {
        self.at("/var/log/postern")
    }

    /// Directory of the signed kernels.
    pub(crate) fn kernels(&self) -> PathBuf {
        self.at("/efi/EFI/Linux")
    }

    /// The socket, when the service manager passes none.
    pub(crate) fn socket(&self) -> PathBuf {
        self.at(crate::verb::SOCKET)
    }
}
