"""SPEC §3 as pure functions over frozen records. No I/O, no clock, no global state.

A rule that does not hold raises RowFault (or RowSkip) with its stable code; nothing else comes
out of this package for any text that a row may hold.
"""
