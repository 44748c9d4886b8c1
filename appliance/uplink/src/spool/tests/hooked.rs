//! A disk whose fsyncs ask the test first.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use super::super::disk::Disk;
use super::super::storage::Storage;

/// A disk whose fsyncs ask the test first.
pub(super) struct Hooked {
    disk: Disk,
    sync: Mutex<Box<dyn FnMut() -> io::Result<()> + Send>>,
}

impl Hooked {
    pub(super) fn new(disk: Disk, sync: impl FnMut() -> io::Result<()> + Send + 'static) -> Self {
        Self { disk, sync: Mutex::new(Box::new(sync)) }
    }
}

impl Storage for Hooked {
    type File = fs::File;

    fn sync_data(&self, file: &mut fs::File) -> io::Result<()> {
        (self.sync.lock().unwrap())()?;
        self.disk.sync_data(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, preallocated: u64) -> io::Result<fs::File> {
        self.disk.create(name, preallocated)
    }

    fn open(&self, name: &str) -> io::Result<fs::File> {
        self.disk.open(name)
    }

    fn write_at(&self, file: &mut fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(file, offset, bytes)
    }

    fn truncate(&self, file: &mut fs::File, bytes: u64) -> io::Result<()> {
        self.disk.truncate(file, bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.disk.length(name)
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(name, offset, into)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn keep_damaged(&self, name: &str) -> io::Result<()> {
        self.disk.keep_damaged(name)
    }

    fn damaged(&self) -> io::Result<Vec<String>> {
        self.disk.damaged()
    }

    fn place_of(&self, name: &str) -> PathBuf {
        self.disk.place_of(name)
    }
}
