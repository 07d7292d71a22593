"""Turns rows into batches: lanes, fair shares of the device, the device's thread."""
