# What a build needs to know. Nothing here is a secret; passwords come from the environment (PKR_VAR_vcenter_password).

variable "iso_url" {
  type        = string
  description = "Ubuntu Server 24.04's live installer: a URL, or a path of this machine."
  default     = "https://releases.ubuntu.com/24.04/ubuntu-24.04.3-live-server-amd64.iso"
}

variable "iso_checksum" {
  type        = string
  description = "Its SHA-256, as sha256:HEX, from the release's signed SHA256SUMS."
  default     = "sha256:c3514bf0056180d09376462a7a1b4f213c1d6e8ea67fae5c25099c6fd3d8274b"
}

variable "seed_directory" {
  type        = string
  description = "Folder with user-data and meta-data for the installer; packer/build renders it."
}

variable "ssh_private_key_file" {
  type        = string
  description = "Private key of the build user, made by packer/build for one build."
}

variable "build_user" {
  type        = string
  description = "The account that exists while the root is built and is not in the exported root."
  default     = "build"
}

variable "root_archive" {
  type        = string
  description = "Where the installed root goes on this machine, as a tar file."
}

variable "programs_directory" {
  type        = string
  description = "Folder with the release programs postern-gateway, firstboot, console and broker."
}

variable "image_directory" {
  type        = string
  description = "Folder for the root, the build machine and, in out/, the finished image."
}

variable "image_version" {
  type        = string
  description = "Version of the image, for example 1.4.0."
}

variable "keys_directory" {
  type        = string
  description = "Folder with the keys that sign the image (image/README.md); empty makes test keys, which are for tests only."
  default     = ""
}

variable "cpus" {
  type        = number
  description = "Processors of the build machine."
  default     = 2
}

variable "memory_mib" {
  type        = number
  description = "Memory of the build machine, in MiB; the installer wants 4096."
  default     = 4096
}

variable "disk_mib" {
  type        = number
  description = "Disk of the build machine, in MiB; the image's own disk is made by image/."
  default     = 16384
}

variable "qemu_accelerator" {
  type        = string
  description = "kvm, or tcg on a machine without it (an hour instead of minutes)."
  default     = "kvm"
}

variable "qemu_firmware" {
  type        = string
  description = "UEFI firmware for QEMU: code and variables in one file."
  default     = "/usr/share/ovmf/OVMF.fd"
}

variable "vcenter_server" {
  type        = string
  description = "vCenter that builds with the source vsphere-iso."
  default     = "vcenter.example.com"
}

variable "vcenter_user" {
  type        = string
  description = "Account there."
  default     = "packer@vsphere.local"
}

variable "vcenter_password" {
  type        = string
  description = "Its password: give it as the environment variable PKR_VAR_vcenter_password."
  default     = ""
  sensitive   = true
}

variable "vcenter_host" {
  type        = string
  description = "ESXi host that runs the build machine."
  default     = "esxi.example.com"
}

variable "vcenter_datastore" {
  type        = string
  description = "Datastore of the build machine."
  default     = "datastore1"
}

variable "vcenter_network" {
  type        = string
  description = "Network with DHCP and a way to Ubuntu's mirror."
  default     = "VM Network"
}

variable "vcenter_iso" {
  type        = string
  description = "The installer on a datastore: [datastore] path/to.iso."
  default     = "[datastore1] iso/ubuntu-24.04.3-live-server-amd64.iso"
}
