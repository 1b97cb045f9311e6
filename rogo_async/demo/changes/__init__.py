"""Changes to a migrated data set between two runs, at the source and on the platform.

They come with the known answer: what a second run does with each row, and the target afterwards.
"""
