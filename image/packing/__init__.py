"""The steps that turn a root directory into signed, bootable files. Each module owns one step; `image/pack` calls them."""
