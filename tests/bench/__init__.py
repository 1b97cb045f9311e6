"""What ``scripts/bench`` measures: ratios within one run on the embedded stack.

============  ==========================================================================
``seed``      beside the design that this tool replaces, with latencies on the wire
``bound``     beside what so many consumers can reach at all (Little's law)
``cpu``       the client's CPU time a submission, and where it goes
``scale``     memory and rate from 1,000 to 1,000,000 rows, and one file of 2 GiB
``rclone``    beside rclone, on the same blobs
============  ==========================================================================

Each is a module of that name. They stand on ``dataset`` (the data), ``wire`` (the delays),
``client`` (our command as a process), ``meters`` (CPU of servers and proxies), ``figures`` (the
arithmetic, which has tests) and ``report`` (the table and the JSON).
"""
