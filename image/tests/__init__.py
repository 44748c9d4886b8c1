"""Tests of what image/ decides about a root directory, on roots small enough to write down. Run by image/lint."""
