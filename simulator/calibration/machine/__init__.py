"""`simulate calibrate`: measurements of the machine that runs this program, one kind a module, and their profile."""
