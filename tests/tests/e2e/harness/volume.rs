//! A small file system of its own, in a file: to be filled, and to be copied as a power cut would leave it.
//!
//! Mounting takes root and a loop device.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use postern_tests::tools::{run, succeeded};

/// A mounted volume; unmounted when dropped.
pub(crate) struct Volume {
    image: PathBuf,
    mount: PathBuf,
}

impl Volume {
    /// Makes a volume and puts it in the place of `dir`, with everything that is in there.
    pub(crate) fn under(dir: &Path, image: &Path, mebibytes: u64) -> Self {
        let before = dir.with_extension("before");
        std::fs::rename(dir, &before).unwrap();
        let volume = Self::create(image, dir, mebibytes);
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        succeeded(&run("cp", &["-a", &format!("{}/.", before.display()), dir.to_str().unwrap()]));
        succeeded(&run("sync", &["-f", dir.to_str().unwrap()]));
        volume
    }

    /// Makes a volume of `mebibytes` in `image` and mounts it at `mount`.
    fn create(image: &Path, mount: &Path, mebibytes: u64) -> Self {
        let file = std::fs::File::create_new(image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        succeeded(&run("mkfs.ext4", &["-q", "-F", "-m", "0", image.to_str().unwrap()]));
        let volume = Self { image: image.to_owned(), mount: mount.to_owned() };
        volume.mount();
        volume
    }

    fn mount(&self) {
        std::fs::create_dir_all(&self.mount).unwrap();
        // The journal is written out when somebody syncs, and not by the clock: a copy then holds what was synced, and little else.
        let options = ["-o", "loop,commit=300,noatime", self.image.to_str().unwrap(), self.mount.to_str().unwrap()];
        succeeded(&run("mount", &options));
    }

    /// Takes the volume away and mounts `image` in its place; the journal is replayed as after a power cut.
    pub(crate) fn exchange(&mut self, image: &Path) {
        self.unmount();
        image.clone_into(&mut self.image);
        self.mount();
    }

    fn unmount(&self) {
        // Lazily: a program of a test that failed may still have files open there.
        run("umount", &["-l", self.mount.to_str().unwrap()]);
    }

    /// Copies what the device holds at this moment. What the kernel still keeps in memory is not in it.
    pub(crate) fn snapshot(&self, to: &Path) {
        std::fs::copy(&self.image, to).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.unmount();
    }
}
