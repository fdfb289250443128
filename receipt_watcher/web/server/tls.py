"""The certificate and the key of TLS, as files.

Pure but for a look at the files; nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of TLS: the chain and its private key, in PEM."""

    chain: Path
    key: Path

    @property
    def changed_at(self) -> tuple[int, int] | None:
        """The times when the two files changed; None if they cannot be looked at."""
        try:
            return self.chain.stat().st_mtime_ns, self.key.stat().st_mtime_ns
        except OSError:
            return None


def certificate_of(chain: Path | None, key: Path | None) -> Certificate | None:
    """Return the certificate of these two files; None where there is no TLS."""
    return None if chain is None or key is None else Certificate(chain, key)


def unusable_words(certificate: Certificate | None, error: OSError) -> str:
    """Return why a certificate and its key cannot be used."""
    where = f"{certificate.chain} with http.tls_key {certificate.key}" if certificate else ""
    return f"http.tls_certificate {where} cannot be used: {error}"
