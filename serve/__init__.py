"""The `serve` command. On a CPU it never imports torch."""
