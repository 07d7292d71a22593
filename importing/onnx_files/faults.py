"""The error of a model, a data set or an option that cannot be used."""


class ImportFault(ValueError):
    """`str(fault)` is one sentence: what is wrong, and what to do about it."""
