"""Chapter 9: what the finished models do with scans that are not as they should be."""
