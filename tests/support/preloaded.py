"""Work that is done once in the process from which commands are forked, and not in each command."""

from rogo_async.common.http_session import system_tls

system_tls()
