"""What there is to do and what is done: manifest, shards, names, ledger."""
