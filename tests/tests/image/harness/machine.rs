//! One virtual machine: a disk over the image's, firmware variables of its own, and a QEMU while it is switched on.
//!
//! The hardware is what the OVF asks for, where QEMU can boot from it: q35 with UEFI and Secure Boot, two processors, 2 GiB, a
//! CD-ROM; the disk is virtio, because OVMF does not boot from PVSCSI.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{run, succeeded};

use super::console::Console;
use super::monitor::Monitor;

const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// The tap that tests/image/namespace made.
const TAP: &str = "vm0";

/// What of a machine outlives its power: the disk and the firmware's variables.
pub(crate) struct Chassis {
    dir: tempfile::TempDir,
    boots: std::cell::Cell<u32>,
}

/// What is plugged in at one start.
#[derive(Default)]
pub(crate) struct Plugged<'a> {
    /// In the CD-ROM drive.
    pub(crate) cdrom: Option<&'a Path>,
    /// A read-only disk for a test variant.
    pub(crate) tools: Option<&'a Path>,
    /// A script, padded to whole sectors, that a test variant's agent runs before anything else.
    pub(crate) orders: Option<&'a Path>,
    /// An empty disk that a test variant may write results to.
    pub(crate) scratch: Option<&'a Path>,
    /// More arguments of QEMU.
    pub(crate) more: &'a [&'a str],
}

impl Chassis {
    /// A machine with a thin copy of `disk`, which stays as it is, and a copy of `variables`.
    pub(crate) fn new(disk: &Path, variables: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-vm-").tempdir().unwrap();
        let chassis = Self { dir, boots: std::cell::Cell::new(0) };
        std::fs::copy(variables, chassis.variables()).unwrap();
        let format = match disk.extension().and_then(|extension| extension.to_str()) {
            Some("vmdk") => "vmdk",
            Some("qcow2") => "qcow2",
            _ => "raw",
        };
        let base = std::path::absolute(disk).unwrap();
        let (overlay, base) = (chassis.disk(), base.to_str().unwrap());
        succeeded(&run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", format, "-b", base, overlay.to_str().unwrap()]));
        chassis
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.dir().join("disk.qcow2")
    }

    fn variables(&self) -> PathBuf {
        self.dir().join("vars.fd")
    }

    /// Switches the machine on.
    pub(crate) fn boot(&self, plugged: &Plugged<'_>) -> Machine {
        self.boots.set(self.boots.get() + 1);
        let path = |name: &str| self.dir().join(format!("{name}.{}", self.boots.get()));
        let (console, keys, agent, monitor) = (path("console.log"), path("console"), path("agent"), path("monitor"));
        let mut command = Command::new("setpriv");
        // Whatever becomes of this test, the machine does not outlive it.
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-machine", "q35,smm=on", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-smp", "2", "-m", "2048"]);
        command.args(["-uuid", "6f0d3c9e-53a2-4d2e-9b5c-0a51f0c0ffee", "-rtc", "base=utc", "-vga", "std", "-device", "virtio-rng-pci"]);
        command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        command.args(["-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}")]);
        command.args(["-drive", &format!("if=pflash,unit=1,format=raw,file={}", self.variables().display())]);
        command.args(["-drive", &format!("if=none,id=system,format=qcow2,cache=unsafe,file={}", self.disk().display())]);
        command.args(["-device", "virtio-blk-pci,drive=system,serial=system,bootindex=1"]);
        let cdrom = plugged.cdrom.map(|file| format!(",file={}", file.display())).unwrap_or_default();
        command.args(["-drive", &format!("if=none,id=cdmedium,media=cdrom,readonly=on{cdrom}")]);
        command.args(["-device", "ide-cd,id=cdrom,drive=cdmedium"]);
        for (name, disk, read_only) in
            [("tools", plugged.tools, "on"), ("orders", plugged.orders, "on"), ("scratch", plugged.scratch, "off")]
        {
            if let Some(disk) = disk {
                command.args(["-drive", &format!("if=none,id={name},format=raw,readonly={read_only},file={}", disk.display())]);
                command.args(["-device", &format!("virtio-blk-pci,drive={name},serial={name}")]);
            }
        }
        command.args(["-netdev", &format!("tap,id=net,ifname={TAP},script=no,downscript=no")]);
        command.args(["-device", "virtio-net-pci,netdev=net,mac=52:54:00:99:00:50"]);
        let socket = |path: &Path| format!("path={},server=on,wait=off", path.display());
        command.args(["-chardev", &format!("socket,id=console,logfile={},{}", console.display(), socket(&keys))]);
        command.args(["-serial", "chardev:console"]);
        command.args(["-chardev", &format!("socket,id=agent,{}", socket(&agent)), "-serial", "chardev:agent"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())]);
        command.args(plugged.more);
        let said = std::fs::File::create(path("qemu.log")).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let child = command.spawn().unwrap_or_else(|error| panic!("setpriv: {error}; `make test-image` installs it"));
        let mut machine = Machine { child, console: Console::new(console, keys), agent, monitor, said: path("qemu.log") };
        wait_for("QEMU", SOON, || {
            machine.must_run();
            if machine.monitor.exists() { Ok(()) } else { Err("it has no monitor yet".to_owned()) }
        });
        machine
    }
}

/// A machine that is switched on. Dropping it pulls the plug.
pub(crate) struct Machine {
    child: Child,
    pub(crate) console: Console,
    agent: PathBuf,
    monitor: PathBuf,
    said: PathBuf,
}

impl Machine {
    /// Connects to the machine's QEMU.
    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::connect(&self.monitor)
    }

    /// The socket of the second serial port.
    pub(crate) fn agent(&self) -> &Path {
        &self.agent
    }

    /// Panics, with what QEMU said, if it has ended.
    fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("QEMU has ended ({status}): {}", std::fs::read_to_string(&self.said).unwrap_or_default());
        }
    }

    /// Pulls the plug: SIGKILL, nothing is flushed inside the machine.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the console's last lines:\n{}", self.console.tail());
        }
    }
}
