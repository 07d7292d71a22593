"""Reads picture files of clients as inputs of a route: checks them, decodes them in threads."""
