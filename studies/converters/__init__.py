"""What converters and early exits are worth beside plain small nets: the training of the study."""
