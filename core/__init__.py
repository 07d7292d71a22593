"""Messages, errors, manifests, confidence scores and devices. Imports no other package here."""
