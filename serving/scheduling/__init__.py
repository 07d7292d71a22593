"""From rows to batches: lanes, fair shares of the device, its thread."""
