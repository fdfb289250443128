"""Numbered changes of the job log's schema, applied in order at start; each file is one, and none is ever edited."""
