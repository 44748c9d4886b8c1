//! Where the image under test is, and how its parts are taken out of the OVA.

use std::path::{Path, PathBuf};

use postern_tests::tools::{run, succeeded};

/// What `image/pack` put into one directory.
pub(crate) struct Artefacts {
    dir: PathBuf,
}

impl Artefacts {
    /// The image as it is shipped.
    pub(crate) fn shipped() -> Self {
        Self::named("POSTERN_IMAGE")
    }

    /// The same root under an initrd that starts what is on the tools disk.
    pub(crate) fn test_variant() -> Self {
        Self::named("POSTERN_IMAGE_TEST")
    }

    fn named(variable: &str) -> Self {
        let dir = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set; tests/image/run sets it"));
        let dir = PathBuf::from(dir);
        assert!(dir.is_dir(), "{} is no directory; `make image` makes it", dir.display());
        Self { dir }
    }

    /// A file or directory of this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The one file whose name ends so.
    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        only(&self.dir, suffix)
    }

    /// UEFI variables with the keys of this image enrolled, and Secure Boot on.
    pub(crate) fn firmware_variables(&self) -> PathBuf {
        self.file("vars.fd")
    }

    /// Unpacks the OVA into `to`.
    pub(crate) fn unpack(&self, to: &Path) -> Ova {
        let ova = self.file(".ova");
        succeeded(&run("tar", &["--extract", "--file", ova.to_str().unwrap(), "--directory", to.to_str().unwrap()]));
        Ova { dir: to.to_owned() }
    }
}

/// The disk that tests/image/build-tools made.
pub(crate) fn tools_disk() -> PathBuf {
    PathBuf::from(std::env::var_os("POSTERN_TOOLS_DISK").expect("POSTERN_TOOLS_DISK is set by tests/image/run"))
}

/// An unpacked OVA.
pub(crate) struct Ova {
    dir: PathBuf,
}

impl Ova {
    pub(crate) fn descriptor(&self) -> PathBuf {
        only(&self.dir, ".ovf")
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        only(&self.dir, ".mf")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        only(&self.dir, ".cert")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        only(&self.dir, ".vmdk")
    }
}

fn only(dir: &Path, suffix: &str) -> PathBuf {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(suffix));
    assert_eq!(found.len(), 1, "one file *{suffix} in {}: {found:?}", dir.display());
    found.remove(0)
}
