"""Numbered changes of the job log's schema, applied in order at start; each file is one, and none is ever edited.

A number is never used again, not even that of a migration which was taken back before a release: logs have it.
"""

#: Migrations that were committed and taken back. A log that has one is carried over like every other.
WITHDRAWN = frozenset({"0011_pages"})
