"""Reads and changes a root directory of the appliance from outside; used by the commands beside this package."""
