"""The answer cache: local, remote (Redis) and perceptual."""
