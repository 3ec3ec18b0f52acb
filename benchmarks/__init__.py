"""What containertest costs, next to what one would use instead; run by ``python -m benchmarks``."""
