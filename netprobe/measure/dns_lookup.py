"""Look-ups of names, one query a datagram, past every cache but the server's own."""

from __future__ import annotations

from collections import Counter

from tokenmark_schemas.netprobe import ProbeTest

from .connect import named
from .times import Durations, mono, turns

RATE_HZ = 20
PATIENCE_S = 2.0


def dns_lookup(test: ProbeTest) -> dict[str, object]:
    """`lookup` and `failures` (timeouts, answers other than NOERROR) of a measurement. Raises OSError where no answer came."""
    if test.target is None or not test.target.names:
        raise OSError("DNSLookup needs target.names")
    server = test.target.nameserver or _own_server()
    lookups, failures = Durations(), Counter[str]()
    for asked, counts in enumerate(turns(test, RATE_HZ)):
        name = test.target.names[asked % len(test.target.names)]
        began = mono()
        answered, failure = _ask(name, server)
        if counts and answered:
            lookups.add(mono() - began)
        if counts and failure:
            failures[failure] += 1
    times = lookups.times()
    if times is None:
        raise OSError(f"no answer from nameserver {server}: {', '.join(failures) or 'nothing was asked'}")
    return {"lookup": times, "failures": dict(failures) or None}


def _ask(name: str, server: str) -> tuple[bool, str]:
    """One query: whether an answer came, and what was wrong with it or kept it away."""
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode

    try:
        answer = dns.query.udp(dns.message.make_query(name, "A"), server, timeout=PATIENCE_S)
    except dns.exception.Timeout:
        return False, "timed out"
    except dns.exception.DNSException as exc:
        return False, type(exc).__name__.lower()
    except OSError as exc:
        return False, named(exc)
    return True, "" if answer.rcode() == dns.rcode.NOERROR else dns.rcode.to_text(answer.rcode()).lower()


def _own_server() -> str:
    """Whom this host asks."""
    import dns.exception
    import dns.resolver

    try:
        return str(dns.resolver.Resolver().nameservers[0])
    except (dns.exception.DNSException, IndexError) as exc:
        raise OSError(f"no nameserver in /etc/resolv.conf: {exc}") from exc
