"""The engine takes a request to its reply: catalog, router, admission, caches, calls."""
