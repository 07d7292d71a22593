"""The HTTP endpoint: connections, heads and bodies, paths, pages."""
