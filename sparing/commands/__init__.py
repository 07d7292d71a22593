"""Options of the longer commands, one module each; they import what they need when they run."""
