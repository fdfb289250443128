"""receipt-watcher carries each receipt from a folder to an N8N workflow and back, and loses none."""

__version__ = "0.1.0"
