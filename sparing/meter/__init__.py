"""Energy meters on the command line: a list of them, and calibration of the estimate."""
