"""Every choice a run is made of: composed from conf/, checked, resolved once."""
