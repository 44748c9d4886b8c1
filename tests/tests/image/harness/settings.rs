//! The CD-ROM with the OVF environment, as a hypervisor attaches it (DSP0243, ISO transport).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use postern_tests::tools::{run, succeeded};

/// OVF properties: names without the prefix `postern.`, and values.
pub(crate) fn environment(properties: &[(&str, &str)]) -> String {
    let mut lines = String::new();
    for (name, value) in properties {
        writeln!(lines, r#"    <Property oe:key="postern.{name}" oe:value="{}"/>"#, escaped(value)).unwrap();
    }
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" xmlns:ve="http://www.vmware.com/schema/ovfenv" oe:id="" ve:vCenterId="vm-42">
  <PlatformSection>
    <Kind>VMware ESXi</Kind>
    <Version>8.0.2</Version>
    <Vendor>VMware, Inc.</Vendor>
    <Locale>en</Locale>
  </PlatformSection>
  <PropertySection>
{lines}  </PropertySection>
</Environment>
"#
    )
}

/// Makes the CD-ROM image `name` in `dir` around the text of `ovf-env.xml`.
pub(crate) fn cdrom(dir: &Path, name: &str, environment: &[u8]) -> PathBuf {
    let (source, image) = (dir.join(format!("{name}.d")), dir.join(format!("{name}.iso")));
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("ovf-env.xml"), environment).unwrap();
    let (to, from) = (image.to_str().unwrap(), source.to_str().unwrap());
    succeeded(&run("genisoimage", &["-quiet", "-input-charset", "utf-8", "-J", "-r", "-V", "OVF ENV", "-o", to, from]));
    image
}

fn escaped(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
