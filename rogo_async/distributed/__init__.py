"""Runs the shards of one run on the workers of a Dask cluster (specification §7).

Only a distributed run imports Dask, which the extra ``distributed`` installs.
"""
