"""Output about a run: progress, summary, Prometheus metrics, HTML report."""
