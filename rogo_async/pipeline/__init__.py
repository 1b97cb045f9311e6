"""One run: producer, queue, consumers and the single CSV writer."""
