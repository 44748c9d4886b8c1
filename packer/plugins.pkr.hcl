# The plugins that current Packer fetches with `packer init`. Alone in its file: Packer 1.6 has them built in and refuses the block.
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.1.0, < 2.0.0"
    }
    vmware = {
      source  = "github.com/hashicorp/vmware"
      version = ">= 1.0.11, < 2.0.0"
    }
    vsphere = {
      source  = "github.com/hashicorp/vsphere"
      version = ">= 1.3.0, < 2.0.0"
    }
  }
}
