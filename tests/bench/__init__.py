"""The benches of ``scripts/bench``: ratios within one run on the embedded stack.

============  ==========================================================================
``seed``      compared with the design that this tool replaces, with simulated latencies
``bound``     compared with the upper bound for its number of consumers (Little's law)
``cpu``       the client's CPU time a submission, and where it goes
``scale``     memory and rate from 1,000 to 1,000,000 rows, and one file of 2 GiB
``rclone``    copying blobs compared with rclone, on the same blobs
============  ==========================================================================

``seed`` is ``vs_old_design``, ``bound`` is ``vs_littles_law``; the others are named like their
module. Shared modules: ``dataset`` (the data), ``wire`` (the delays), ``client`` (the command as a
process), ``cpu_time`` (CPU of servers and proxies), ``figures`` (arithmetic, with tests) and
``report`` (the table and the JSON).

``python -m tests.bench.row_trace`` counts the calls on the path of one row.
"""
