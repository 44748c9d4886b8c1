# Installs Ubuntu Server 24.04 unattended, takes its root out of the machine as a tar file, and hands it to packer/finish, which runs
# the roles of ansible/ in it and packs the image. Called by packer/build.

locals {
  # UEFI GRUB of the installer: `c` is its command line. The seed is the CD with the label cidata.
  boot_command = [
    "c<wait3>",
    "linux /casper/vmlinuz autoinstall ds=nocloud ---<enter><wait3>",
    "initrd /casper/initrd<enter><wait3>",
    "boot<enter>",
  ]
  seed = ["${var.seed_directory}/user-data", "${var.seed_directory}/meta-data"]
  # The roles take sudo's rights away only in the exported root; the machine itself is thrown away.
  shutdown = "sudo systemctl poweroff"
}

source "qemu" "ubuntu2404" {
  iso_url          = var.iso_url
  iso_checksum     = var.iso_checksum
  accelerator      = var.qemu_accelerator
  cpus             = var.cpus
  memory           = var.memory_mib
  disk_size        = "${var.disk_mib}M"
  disk_interface   = "virtio"
  net_device       = "virtio-net"
  format           = "qcow2"
  headless         = true
  output_directory = "${var.image_directory}/build-machine"
  cd_files         = local.seed
  cd_label         = "cidata"
  boot_wait        = "5s"
  boot_command     = local.boot_command
  qemuargs = [
    ["-bios", var.qemu_firmware],
    ["-device", "virtio-rng-pci"],
  ]
  ssh_username         = var.build_user
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "60m"
  shutdown_command     = local.shutdown
}

source "vmware-iso" "ubuntu2404" {
  iso_url          = var.iso_url
  iso_checksum     = var.iso_checksum
  guest_os_type    = "ubuntu-64"
  version          = "19"
  cpus             = var.cpus
  memory           = var.memory_mib
  disk_size        = var.disk_mib
  headless         = true
  output_directory = "${var.image_directory}/build-machine"
  cd_files         = local.seed
  cd_label         = "cidata"
  boot_wait        = "5s"
  boot_command     = local.boot_command
  vmx_data = {
    firmware = "efi"
  }
  ssh_username         = var.build_user
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "60m"
  shutdown_command     = local.shutdown
}

source "vsphere-iso" "ubuntu2404" {
  vcenter_server       = var.vcenter_server
  username             = var.vcenter_user
  password             = var.vcenter_password
  host                 = var.vcenter_host
  datastore            = var.vcenter_datastore
  vm_name              = "postern-build"
  vm_version           = 19
  guest_os_type        = "ubuntu64Guest"
  firmware             = "efi"
  iso_paths            = [var.vcenter_iso]
  CPUs                 = var.cpus
  RAM                  = var.memory_mib
  disk_controller_type = ["pvscsi"]
  cd_files             = local.seed
  cd_label             = "cidata"
  boot_wait            = "5s"
  boot_command         = local.boot_command
  storage {
    disk_size             = var.disk_mib
    disk_thin_provisioned = true
  }
  network_adapters {
    network      = var.vcenter_network
    network_card = "vmxnet3"
  }
  ssh_username         = var.build_user
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "60m"
  shutdown_command     = local.shutdown
}

build {
  sources = ["source.qemu.ubuntu2404", "source.vmware-iso.ubuntu2404", "source.vsphere-iso.ubuntu2404"]

  provisioner "shell" {
    script          = "${path.root}/export-root"
    execute_command = "sudo env {{ .Vars }} sh {{ .Path }}"
    environment_vars = [
      "BUILD_USER=${var.build_user}",
      "ARCHIVE=/home/${var.build_user}/root.tar.gz",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "/home/${var.build_user}/root.tar.gz"
    destination = var.root_archive
  }

  provisioner "shell-local" {
    script = "${path.root}/finish"
    environment_vars = [
      "ROOT_ARCHIVE=${var.root_archive}",
      "PROGRAMS=${var.programs_directory}",
      "IMAGE=${var.image_directory}",
      "IMAGE_VERSION=${var.image_version}",
      "KEYS=${var.keys_directory}",
    ]
  }
}
