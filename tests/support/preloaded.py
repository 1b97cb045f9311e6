"""Work that is done once in the process from which commands are forked, and not in each command."""

import gc

from rogo_async.common.http_session import system_tls
from tests.support import copying_stack

system_tls()
if copying_stack.IS_ON:
    copying_stack.count_this_machine_as_azure()

# A collection in a command would visit, and thereby copy, all that is here.
gc.freeze()
