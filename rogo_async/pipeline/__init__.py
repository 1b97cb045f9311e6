"""One run: producer, queue, workers and the single CSV writer."""
