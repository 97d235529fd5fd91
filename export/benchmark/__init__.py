"""What ``python -m export.bench`` is made of: rows in processes of their own, rounds, floor, page."""
