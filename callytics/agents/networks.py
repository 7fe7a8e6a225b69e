"""Where a login comes from, as keys by which logins are counted."""

from __future__ import annotations

import ipaddress

# One host can use all of a /64 (RFC 6177), and a customer has a /56 or /48. Of IPv4 a provider's customers share a /24.
HOST = {4: 32, 6: 64}
NETWORK = {4: 24, 6: 64}
SITE = {4: 24, 6: 48}


def host(address: str) -> str:
    """Return the key of the host that an address belongs to: the address, or its /64."""
    return _prefix(address, HOST)


def network(address: str | None) -> str:
    """Return the network in which guesses at an account are counted: the /24, or /64; empty for no address."""
    return _prefix(address, NETWORK) if address else ""


def site(address: str) -> str:
    """Return the key of a site, whose hosts can be one attacker's: the /24, or /48."""
    return _prefix(address, SITE)


def _prefix(address: str, lengths: dict[int, int]) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        # What a proxy made up is a key as well, of a length that can be kept.
        return address[:64]
    if parsed.version == 6 and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed.packed, lengths[parsed.version]), strict=False))
