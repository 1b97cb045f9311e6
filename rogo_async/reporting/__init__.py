"""What a run shows: progress, summary, Prometheus metrics, HTML report."""
