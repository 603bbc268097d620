"""Networks as people have them. Each is packaged in one call, served, explained and compared with the original."""
