"""The container image: builds it from the Dockerfile, tries it with podman, lists its packages."""
