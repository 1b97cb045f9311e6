"""A run as one self-contained HTML page, and the series of points that it is drawn from.

``timeline`` goes with every run and is light; ``stored`` and what is below it load the libraries
that draw, so they are imported where a report is wanted.
"""
