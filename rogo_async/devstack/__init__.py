"""The embedded stack: real servers on this machine, for the tests and for ``demo``.

==============  ==========================================================================
``stack``       all of it together, and the environment that ``run`` needs
``postgres``    PostgreSQL, which plays the target and (through ODBC) the warehouse
``azurite``     a blob store, which plays the source and the destination
``source``      a source of files that misbehaves as it is told to
``tcp_proxy``   a connection that is slow, cut, reset, swallowed or refused
``process``     child processes that do not outlive us
``ports``       free ports
==============  ==========================================================================
"""
