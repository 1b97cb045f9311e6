"""ROGO_SOURCE_SAS_TOKEN: the SAS of each source (specification §4)."""

from collections.abc import Sequence

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
