"""The console: pages for a browser, as static files. They use only the HTTP endpoint's own API."""
