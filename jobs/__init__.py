"""The `kennel` command: boto3-shaped requests, and the targets that carry them out. Never imports torch."""
