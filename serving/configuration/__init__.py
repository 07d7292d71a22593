"""Where settings come from: options, environment variables, the settings file, and files that hold
secrets and certificates.
"""
