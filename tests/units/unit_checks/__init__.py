"""Checks of the appliance's systemd units and AppArmor profiles. Called by `tests/units/check`; each module is one check."""
