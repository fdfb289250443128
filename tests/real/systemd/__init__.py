"""A real systemd, booted in a container, and the service on it."""
