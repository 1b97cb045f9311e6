"""Access to each source: ROGO_SOURCE_SAS_TOKEN, ROGO_SOURCE_IDENTITY_HOSTS (specification §4)."""

from collections.abc import Collection, Sequence

from rogo_async.common.urls import AllowList, Origin


def parse_source_sas(text: str, hosts: Sequence[str]) -> dict[Origin, str]:
    """The SAS of each source that has one, without a question mark.

    ``hosts`` are those of ROGO_SOURCE_HOSTS. Raises ValueError, without the text of a token.
    """
    named = {f"{host}=": host for host in hosts}
    tokens: dict[Origin, str] = {}
    pieces = text.split()
    for piece in pieces:
        host = next((host for start, host in named.items() if piece.startswith(start)), None)
        token = piece if host is None else piece[len(host) + 1 :]
        if host is None:
            if len(hosts) > 1 or len(pieces) > 1:
                raise ValueError(
                    "with several hosts, put the host in front of each token, "
                    "spelled as in ROGO_SOURCE_HOSTS: host=token host=token"
                )
            host = hosts[0]
        token = token.lstrip("?")
        if "=" not in token or not token.isascii():
            raise ValueError("contains a token that is not a SAS (expected sv=…&sig=…)")
        (origin,) = AllowList.from_hosts((host,)).origins
        tokens[origin] = token
    return tokens


def parse_identity_hosts(
    entries: Sequence[str], allowed: AllowList, with_sas: Collection[Origin]
) -> frozenset[Origin]:
    """The sources to which the access token of the identity is sent.

    ``allowed`` are those of ROGO_SOURCE_HOSTS, ``with_sas`` those that have a SAS. Raises
    ValueError with the number of the invalid entry, without its text.
    """
    origins: set[Origin] = set()
    for number, entry in enumerate(entries, start=1):
        (found,) = _origins_of(entry, number)
        if found[0] != "https":
            raise ValueError(f"host {number} uses http: an access token is sent over https only")
        if found not in allowed.origins:
            raise ValueError(f"host {number} is not in ROGO_SOURCE_HOSTS: add it there")
        if found in with_sas:
            raise ValueError(
                f"host {number} has a SAS in ROGO_SOURCE_SAS_TOKEN, too: remove one of them"
            )
        origins.add(found)
    return frozenset(origins)


def _origins_of(entry: str, number: int) -> frozenset[Origin]:
    try:
        return AllowList.from_hosts((entry,)).origins
    except ValueError as error:
        text = str(error).partition(": ")[2]
        raise ValueError(f"host {number}: {text}") from None
