"""What containertest costs, next to what one would use instead: ``make bench``, or ``python -m benchmarks``."""
